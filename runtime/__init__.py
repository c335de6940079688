"""Base of every process, without models or events: exits, deadlines, failpoints, the Kafka client."""
