"""Settings: flags, environment, file, and options of the Kafka client and the schema registry."""
