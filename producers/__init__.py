"""What puts events on Kafka: the publisher, data sources, imports."""
