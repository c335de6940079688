"""Share of the events that are shadowed: by a hash of the id, halved while the role is far behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from hashlib import blake2b
from typing import Final, Protocol

from runtime.kafka_client.records import Partition

BEHIND_MS: Final = 60_000
CURRENT_MS: Final = 5_000
MOST_HALVED: Final = 6
"""At least a 64th of the events is shadowed, so that the comparison goes on however slow a challenger is."""
_LOOK_EVERY_MS: Final = 10_000
_SETTLE_MS: Final = 30_000
_WHOLE: Final = 2**64


def chosen(event_id: bytes, share: float) -> bool:
    """Return whether the event with this id (UTF-8) is among a share of all events.

    The choice depends on the id alone, so every process makes the same, and a smaller share is a part of a larger one.
    It is independent of the partition, which another hash decides.

    >>> chosen(b"e7", 1.0), chosen(b"e7", 0.0), sum(chosen(b"e%d" % number, 0.25) for number in range(1000))
    (True, False, 242)
    """
    if share >= 1.0:
        return True
    return int.from_bytes(blake2b(event_id, digest_size=8).digest(), "big") < share * _WHOLE


class Ends(Protocol):
    """Compares times with the ends of the topic of predictions."""

    def later(self, times: Mapping[Partition, int]) -> Set[Partition]:
        """Return the partitions that hold a record at or after their time (ms, by the broker)."""


class ShareControl:
    """Halves the share of a partition that is a minute behind, and doubles it again when it has caught up.

    A partition is behind if it holds a record a minute newer than the newest one read: both times are the broker's.
    The processor applies a change to the next turn, after it was committed.
    """

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._newest: dict[Partition, int] = {}
        self._looked_at = 0
        self._changed_at: dict[Partition, int] = {}

    def begin(self, partitions: Iterable[Partition]) -> None:
        """Begin with a new assignment, of which nothing has been read."""
        self._newest = {}
        self._changed_at = dict.fromkeys(partitions, 0)

    def read(self, partition: Partition, time: int) -> None:
        """Note the time of the newest prediction that was read."""
        self._newest[partition] = max(time, self._newest.get(partition, 0))

    def oldest(self) -> int | None:
        """Return the oldest of the newest times, `None` until every partition has one."""
        if len(self._newest) < len(self._changed_at):
            return None
        return min(self._newest.values(), default=None)

    def newest(self) -> int | None:
        """Return the newest time that was read, `None` before the first."""
        return max(self._newest.values(), default=None)

    def changes(self, halved: Mapping[Partition, int], now_ms: int) -> dict[Partition, int]:
        """Return how often the share of a partition is to be halved from now on, for those where that changes.

        Parameters
        ----------
        halved
            How often each is halved now.
        now_ms
            A local clock; it only decides how often to look.
        """
        if 0 <= now_ms - self._looked_at < _LOOK_EVERY_MS:
            return {}
        self._looked_at = now_ms
        due = {at: time for at, time in self._newest.items() if self._settled(at, now_ms)}
        behind = self._ends.later({at: time + BEHIND_MS for at, time in due.items()})
        reduced = {at: time + CURRENT_MS for at, time in due.items() if halved.get(at, 0) and at not in behind}
        current = reduced.keys() - self._ends.later(reduced)
        found = {at: halved.get(at, 0) + 1 for at in behind if halved.get(at, 0) < MOST_HALVED}
        found |= {at: halved[at] - 1 for at in current}
        self._changed_at.update(dict.fromkeys(found, now_ms))
        return found

    def _settled(self, at: Partition, now_ms: int) -> bool:
        """Return whether the last change has had time to take effect."""
        return not 0 <= now_ms - self._changed_at.get(at, 0) < _SETTLE_MS
