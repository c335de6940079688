"""Requests of every turn to the consumer: poll time, positions, unread offsets, pauses, topic ids."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from runtime.exits import Doubt
from runtime.kafka_client.client import GroupConsumer
from runtime.kafka_client.records import Partition, Positions

POLL_MS: Final = 100
# Used after a while without records: each poll costs 3 ms of CPU time, and a record ends the wait at once anyway.
_QUIET_POLL_MS: Final = 500
_QUIET_SECONDS: Final = 2.0


class PollTime:
    """Time that a poll waits for records: longer while the stream is quiet.

    Parameters
    ----------
    fetch_bytes, wait_ms
        Bytes for which the broker waits while records arrive, and for how long.
    """

    def __init__(self, fetch_bytes: int, wait_ms: int = POLL_MS) -> None:
        self._fetch_bytes = fetch_bytes
        self._wait_ms = wait_ms
        self._active = time.monotonic()

    def active(self) -> None:
        """Note that a record was read or sent."""
        self._active = time.monotonic()

    def choose(self, consumer: GroupConsumer, *, joining: bool, behind: bool) -> int:
        """Return the time in ms and set the same wait at the broker. `joining`: the assignment is about to change.

        Behind, a partition whose records are used up must not hold up the fetches of all others for the longer wait.
        """
        if joining or behind:
            consumer.wait_for_bytes(self._fetch_bytes, POLL_MS)
            return POLL_MS
        if time.monotonic() - self._active < _QUIET_SECONDS:
            consumer.wait_for_bytes(self._fetch_bytes, self._wait_ms)
            return self._wait_ms
        # The first record after a quiet time is returned at once, and does not wait for a larger batch.
        consumer.wait_for_bytes(1, _QUIET_POLL_MS)
        return _QUIET_POLL_MS


def positions(consumer: GroupConsumer, partitions: Sequence[Partition], request_ms: int) -> dict[Partition, int]:
    """Return the next offsets to read, past transaction markers: last offset + 1 would leave a lag of 1."""
    found = {}
    for partition in partitions:
        position = consumer.position_within(partition, request_ms)
        if position is None:
            raise Doubt(f"the position in {partition} is not known")
        found[partition] = position
    return found


def unread(consumer: GroupConsumer, read: Positions) -> int:
    """Return the number of offsets after `read` that may be read now, as far as the last fetches tell."""
    resting = consumer.paused()
    ends = {partition: consumer.highwater(partition) for partition in read if partition not in resting}
    return sum(max(0, end - read[partition]) for partition, end in ends.items() if end is not None)


def apply_pauses(consumer: GroupConsumer, wanted: Collection[Partition]) -> None:
    """Pause exactly the `wanted` partitions among the assigned ones."""
    asked, now = consumer.assignment().intersection(wanted), consumer.paused()
    if asked - now:
        consumer.pause(asked - now)
    if now - asked:
        consumer.resume(now - asked)


def topic_ids(consumer: GroupConsumer, topics: Sequence[str], before: Mapping[str, object]) -> dict[str, object]:
    """Return the topics' ids that the client knows; the id of `before` if it knows none.

    It knows none between the deletion and the creation of a topic.
    """
    known = consumer.topic_ids(topics)
    return {topic: before.get(topic) if now is None else now for topic, now in known.items()}
