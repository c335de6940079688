"""Base of every process: exits, deadlines, failpoints and the Kafka client; knows nothing of models or events."""
