"""Check that the topics of a producer exist before it sends anything."""

from __future__ import annotations

from runtime.kafka_client.cluster import Cluster, MissingTopic, NoBroker, TopicInfo
from runtime.kafka_client.errors import KafkaError, described


def existing(cluster: Cluster, *topics: str) -> dict[str, TopicInfo]:
    """Return the cluster's description of `topics`.

    Raises
    ------
    MissingTopic
        If one does not exist.
    NoBroker
        If no broker answers.
    """
    try:
        found = cluster.topic_info(*topics)
    except KafkaError as error:
        raise NoBroker(f"Kafka at {cluster.bootstrap} does not answer: {described(error)}") from error
    for topic in topics:
        if topic not in found:
            raise MissingTopic(f"topic {topic} does not exist: `millstream topics create` makes a stream's topics")
    return found
