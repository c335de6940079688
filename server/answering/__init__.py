"""Answering of events that come by HTTP, by the code that answers events on Kafka."""
