"""Static membership of a process in its consumer group: joining, checking the assignment, leaving."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from runtime.exits import Doubt
from runtime.kafka_client.client import GroupConsumer
from runtime.kafka_client.cluster import Cluster, existing_topics
from runtime.kafka_client.errors import KafkaError, UnknownGroupError, UnknownMemberError, described
from runtime.kafka_client.records import Partition

_LOG: Final = logging.getLogger("millstream")


class Membership:
    """A static membership (KIP-345): `instance` in `group`."""

    def __init__(self, cluster: Cluster, group: str, instance: str) -> None:
        self._cluster = cluster
        self._group = group
        self._instance = instance

    def know_topics(self, consumer: GroupConsumer, topics: Sequence[str], seconds: float) -> None:
        """Wait until the subscribed client knows the topics' partitions: a leader assigns only those it knows.

        Raises
        ------
        RoleRefused
            If a topic does not exist. (The client would ask for it hundreds of times a second, and never join.)
        Doubt
            If the broker does not report them in time.
        """
        counts = {name: info.partitions for name, info in existing_topics(self._cluster, topics).items()}
        if not consumer.wait_for_partitions(counts, seconds):
            raise Doubt(f"the broker does not tell the partitions of {', '.join(topics)}")

    def left_over(self, consumer: GroupConsumer, topics: Sequence[str]) -> list[Partition]:
        """Return the partitions that the group's assignment gives to no member.

        A static member that returns gets its earlier assignment. The client then neither makes a new one nor checks
        that this one is complete, even if it leads the group (the broker tells such clients that another member
        leads). An assignment made before a topic was known would stay for ever.
        """
        if consumer.made_assignment():
            return []  # this process made it a moment ago, and makes another when it learns of more partitions
        with self._cluster.admin() as admin:
            group = admin.describe_group(self._group)
        if not group.stable:
            return []  # a new assignment is in progress
        given = {partition for member in group.members for partition in member.assigned}
        counts = {topic: len(consumer.partitions_for_topic(topic)) for topic in topics}
        return [
            Partition(topic, number)
            for topic, count in counts.items()
            for number in range(count)
            if Partition(topic, number) not in given
        ]

    def join_anew(self, consumer: GroupConsumer) -> None:
        """Leave the group and join it as a new member, so that its leader makes a new assignment."""
        self._remove()
        consumer.request_rejoin()

    def leave(self) -> None:
        """Leave the group. Otherwise a static member keeps its partitions until its session ends."""
        try:
            self._remove()
        except (UnknownMemberError, UnknownGroupError):
            return  # it had not joined
        except Exception as error:  # noqa: BLE001 - the end of the session has the same effect, later
            _LOG.info("leaving group %s by time-out: %s", self._group, described(error))

    def _remove(self) -> None:
        with self._cluster.admin() as admin:
            admin.remove_group_members(self._group, [self._instance])


def close_consumer(consumer: GroupConsumer) -> None:
    """Close a consumer; a close that fails changes nothing."""
    try:
        consumer.close(timeout_ms=2000)
    except KafkaError as error:
        _LOG.info("closing the consumer: %s", described(error))
