"""A process's place in its group: known by name, given partitions, and given back at the end."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kafka.admin import MemberToRemove
from kafka.consumer.group import KafkaConsumer
from kafka.errors import GroupIdNotFoundError, KafkaError, UnknownMemberIdError

from consumers.loop.takeover import existing_topics
from runtime.exits import Doubt
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition

_LOG: Final = logging.getLogger("millstream")
_LOOK_SECONDS: Final = 0.02
_ASK_SECONDS: Final = 0.25


class Membership:
    """A static membership (KIP-345): `instance` in `group`."""

    def __init__(self, cluster: Cluster, group: str, instance: str) -> None:
        self._cluster = cluster
        self._group = group
        self._instance = instance

    def know_topics(self, consumer: KafkaConsumer, topics: Sequence[str], seconds: float) -> None:
        """Wait until the client, subscribed, knows the topics' partitions: a leader shares out only those it knows.

        Raises
        ------
        Refused
            Where a topic does not exist. (Of such a one the client asks hundreds of times a second, and never joins.)
        Doubt
            Where the client is not told of them in time.
        """
        counts = {name: info.partitions for name, info in existing_topics(self._cluster, topics).items()}
        deadline = time.monotonic() + seconds
        # What the coordinator has noted: joining before that, it shares out, notices, and joins again.
        noted = consumer._coordinator._metadata_snapshot
        asked = time.monotonic()
        while any(len(noted.get(topic, ())) < count for topic, count in counts.items()):
            now = time.monotonic()
            if now > deadline:
                raise Doubt(f"the broker does not tell the partitions of {', '.join(topics)}")
            if now > asked + _ASK_SECONDS:
                # Subscribing while another question was under way, the client takes its answer for the new one's.
                consumer._cluster.request_update()
                asked = now
            time.sleep(_LOOK_SECONDS)
            noted = consumer._coordinator._metadata_snapshot

    def left_over(self, consumer: KafkaConsumer, topics: Sequence[str]) -> list[Partition]:
        """Return the partitions that the group's assignment gives to nobody.

        A member that comes back under its own name is handed the assignment that it had, and the client
        neither makes a new one then nor watches whether this one is whole, even where it leads the group
        (the broker tells such clients that another leads). An assignment made before a topic was known
        would stay for ever.
        """
        if consumer._coordinator._assignment_snapshot is not None:
            return []  # made by this process a moment ago, which makes another when it learns of more
        with self._cluster.admin() as admin:
            group: Mapping[str, Any] = admin.describe_groups([self._group])[self._group]
        if group["group_state"] != "Stable":
            return []  # another assignment is on its way
        given = {
            Partition(each["topic"], number)
            for member in group["members"]
            for each in (member["member_assignment"] or {}).get("assigned_partitions", ())
            for number in each["partitions"]
        }
        counts = {topic: len(consumer.partitions_for_topic(topic)) for topic in topics}
        return [
            Partition(topic, number)
            for topic, count in counts.items()
            for number in range(count)
            if Partition(topic, number) not in given
        ]

    def join_anew(self, consumer: KafkaConsumer) -> None:
        """Leave the group and join it as a new member, so that its leader shares out anew."""
        self._remove()
        consumer._coordinator.request_rejoin()

    def leave(self) -> None:
        """Give the partitions back. A static member's would stay with it until its session ends."""
        try:
            self._remove()
        except (UnknownMemberIdError, GroupIdNotFoundError):
            return  # it had not joined
        except Exception as error:  # noqa: BLE001 - the session's end does the same, later
            _LOG.info("leaving group %s by time-out: %s: %s", self._group, type(error).__name__, error)

    def _remove(self) -> None:
        with self._cluster.admin() as admin:
            admin.remove_group_members(self._group, [MemberToRemove(group_instance_id=self._instance)])


def close_consumer(consumer: KafkaConsumer) -> None:
    """Close a client; that it could not say goodbye changes nothing."""
    try:
        consumer.close(autocommit=False, timeout_ms=2000)
    except KafkaError as error:
        _LOG.info("closing the consumer: %s: %s", type(error).__name__, error)
