"""A process's place in its group: known by name, given partitions, and given back at the end."""

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
        """Wait until the client, subscribed, knows the topics' partitions: a leader shares out only those it knows.

        Raises
        ------
        RoleRefused
            Where a topic does not exist. (Of such a one the client asks hundreds of times a second, and never joins.)
        Doubt
            Where the client is not told of them in time.
        """
        counts = {name: info.partitions for name, info in existing_topics(self._cluster, topics).items()}
        if not consumer.wait_for_partitions(counts, seconds):
            raise Doubt(f"the broker does not tell the partitions of {', '.join(topics)}")

    def left_over(self, consumer: GroupConsumer, topics: Sequence[str]) -> list[Partition]:
        """Return the partitions that the group's assignment gives to nobody.

        A member that comes back under its own name is handed the assignment that it had, and the client
        neither makes a new one then nor watches whether this one is whole, even where it leads the group
        (the broker tells such clients that another leads). An assignment made before a topic was known
        would stay for ever.
        """
        if consumer.made_assignment():
            return []  # made by this process a moment ago, which makes another when it learns of more
        with self._cluster.admin() as admin:
            group = admin.describe_group(self._group)
        if not group.stable:
            return []  # another assignment is on its way
        given = {partition for member in group.members for partition in member.assigned}
        counts = {topic: len(consumer.partitions_for_topic(topic)) for topic in topics}
        return [
            Partition(topic, number)
            for topic, count in counts.items()
            for number in range(count)
            if Partition(topic, number) not in given
        ]

    def join_anew(self, consumer: GroupConsumer) -> None:
        """Leave the group and join it as a new member, so that its leader shares out anew."""
        self._remove()
        consumer.request_rejoin()

    def leave(self) -> None:
        """Give the partitions back. A static member's would stay with it until its session ends."""
        try:
            self._remove()
        except (UnknownMemberError, UnknownGroupError):
            return  # it had not joined
        except Exception as error:  # noqa: BLE001 - the session's end does the same, later
            _LOG.info("leaving group %s by time-out: %s", self._group, described(error))

    def _remove(self) -> None:
        with self._cluster.admin() as admin:
            admin.remove_group_members(self._group, [self._instance])


def close_consumer(consumer: GroupConsumer) -> None:
    """Close a client; that it could not say goodbye changes nothing."""
    try:
        consumer.close(timeout_ms=2000)
    except KafkaError as error:
        _LOG.info("closing the consumer: %s", described(error))
