"""The Kafka client: the only package that imports a client library."""
