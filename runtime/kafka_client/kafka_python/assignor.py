"""The range assignor of all members, which also tells the group the client library of each member.

Kafka keeps the note with the membership and shows it to whoever describes the group. The broker and the assignment do
not depend on it: members of other releases leave it empty, or ignore it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.protocol.consumer.metadata import ConsumerProtocolSubscription

from runtime.kafka_client.library_names import version_of

_KEY: Final = "millstream-client: "
_LONGEST: Final = 100


@cache
def range_assignor(library: str) -> type[RangePartitionAssignor]:
    """Return the range assignor of a member that uses this library, for `partition_assignment_strategy`."""
    note = f"{_KEY}{library} {version_of(library)}".encode()

    class NotedRangeAssignor(RangePartitionAssignor):  # type: ignore[misc]
        """The range assignor with a note in the member's subscription."""

        @classmethod
        def metadata(cls, topics: Any) -> ConsumerProtocolSubscription:
            return ConsumerProtocolSubscription(cls.version, list(topics), note)

    return NotedRangeAssignor


def noted_client(user_data: str | None) -> str:
    """Return name and version of the library that a member has told, in its user data; empty if it has told none.

    >>> noted_client("millstream-client: kafka-python 3.0.12"), noted_client(""), noted_client("other")
    ('kafka-python 3.0.12', '', '')
    """
    if not user_data or not user_data.startswith(_KEY):
        return ""
    # Anyone who may join the group may write anything here.
    return user_data[len(_KEY) :][:_LONGEST]
