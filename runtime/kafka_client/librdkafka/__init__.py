"""Implementation of `runtime.kafka_client.client` with librdkafka (the package confluent-kafka)."""
