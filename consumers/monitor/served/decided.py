"""Decisions in force when a prediction was made, by the broker's times on the decisions topic.

What counts is the time of a decision on the log, never the time at which this process reads it: so a window that is
made again has the same groups. A decision of a transaction that was aborted counts, too: what is committed later would
not be the same for every reader.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import Final, Protocol

from consumers.model.models_topic_state import Known, UnusableRecord
from runtime.kafka_client.records import Record
from schemas.model_names import name_of

NEWEST: Final = "newest version"
_ABOUT_SERVING: Final = (b"serving/", b"promoted/", b"rolledback/")
"""Beginnings of the keys of decisions on serving; all others are passed over undecoded."""
_LOOKED_AT: Final = 200_000
"""Records before the first prediction that are looked at for the decisions in force then."""


class DecisionRecords(Protocol):
    """The decisions topic and the models topic: `consumers.loop.decisions_log.DecisionsLog`. Times in ms."""

    def current(self) -> Iterator[Record]:
        """Yield all records of the models topic."""

    def seek(self, time: int) -> None:
        """Let `further` continue with the first record of the decisions topic at or after `time`."""

    def before(self) -> Iterator[Record]:
        """Yield the records of the decisions topic before the one that `seek` has found, newest first."""

    def further(self) -> Iterator[Record]:
        """Yield the next records of the decisions topic, at least up to the newest at the time of the call."""


class DecidedBy:
    """The decision by which a model served at any past time.

    Parameters
    ----------
    wait_ms
        How much older than the first example's prediction that of a later example may be.
    """

    def __init__(self, log: DecisionRecords, wait_ms: int, shard: int = 0) -> None:
        self._log = log
        self._wait_ms = wait_ms
        self._shard = shard
        self._known = Known()
        self._times: list[int] = []
        self._said: list[str] = []
        self._until: int | None = None

    def cover(self, oldest: int, newest: int) -> None:
        """Read what is needed between these broker's times (ms): of the oldest prediction and of the newest example."""
        if self._until is None:
            self._begin(max(0, oldest - self._wait_ms))
        elif newest <= self._until:
            return
        for record in self._log.further():
            self._take(record)
        self._until = newest

    def at(self, time: int) -> str:
        """Return the decision in force at `time` (ms); one of that very time does not count."""
        place = bisect_left(self._times, time)
        return self._said[place - 1] if place else NEWEST

    def _begin(self, since: int) -> None:
        """Find the decisions in force at a time."""
        self._log.seek(since)
        newest = {record.key: record for record in self._log.current() if _is_about_serving(record)}
        wanted = {key for key, record in newest.items() if record.timestamp >= since}
        found = [record for key, record in newest.items() if key not in wanted]
        if wanted:
            for record in islice(self._log.before(), _LOOKED_AT):
                if record.key in wanted:
                    wanted.discard(record.key)
                    found.append(record)
                if not wanted:
                    break
        for record in sorted(found, key=_place):
            self._take(record)

    def _take(self, record: Record) -> None:
        if not _is_about_serving(record):
            return
        try:
            self._known.take(record.key, record.value)
        except UnusableRecord:
            return  # any client can write to a topic
        # A broker's clock can be set back; times of the log only rise.
        self._times.append(max(record.timestamp, self._times[-1] if self._times else 0))
        self._said.append(self._in_force())

    def _in_force(self) -> str:
        known, shard = self._known, self._shard
        promoted, rolled_back = known.promoted(shard), known.rolled_back(shard)
        if rolled_back is not None:
            return f"rolled back by {rolled_back.by}"
        if promoted is not None:
            return f"{name_of(promoted.model)} promoted by the {promoted.by}"
        pinned = known.decided(shard)
        if pinned is not None:
            return f"{name_of(pinned.model)} {pinned.epoch}/{pinned.examples} pinned"
        model = known.serves("", shard)
        return f"newest version of {name_of(model)}" if model and name_of(model) != name_of("") else NEWEST


def _is_about_serving(record: Record) -> bool:
    return (record.key or b"").startswith(_ABOUT_SERVING) and record.value is not None


def _place(record: Record) -> tuple[int, int]:
    return record.timestamp, record.offset
