"""The embedded broker: Kafka's jars, a Java, and one broker process on this machine."""
