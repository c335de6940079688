"""Producers of events on Kafka: the publisher, data sources, imports."""
