"""The topics that a producer needs, asked for before anything is sent."""

from __future__ import annotations

from runtime.kafka_client.cluster import Cluster, MissingTopic, NoBroker, TopicInfo
from runtime.kafka_client.errors import KafkaError, described


def existing(cluster: Cluster, *topics: str) -> dict[str, TopicInfo]:
    """Return what is known of `topics`.

    Raises
    ------
    MissingTopic
        Where one does not exist.
    NoBroker
        Where nobody answers.
    """
    try:
        found = cluster.topic_info(*topics)
    except KafkaError as error:
        raise NoBroker(f"Kafka at {cluster.bootstrap} does not answer: {described(error)}") from error
    for topic in topics:
        if topic not in found:
            raise MissingTopic(f"topic {topic} does not exist: `millstream topics create` makes a stream's topics")
    return found
