"""Age of the version that answered: from its announcement to its answer, both by the broker's clock.

The models topic is compacted at most a day late, and only the newest announcement of each model stays. So a process
that reads a window again within hours finds the same ages; for older versions the store says when they were made.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol, TypeAlias

from model_store import VersionId
from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.events import Outcome
from schemas.model_updates import Published, read_model_update

MOST_VERSIONS: Final = 500_000
"""Versions in memory (16 bytes each), almost three days of one every half second; the oldest are given up."""
_ANNOUNCEMENT: Final = b"published/"
_Name: TypeAlias = tuple[str, int, int]  # model, epoch, examples


class Announcements(Protocol):
    """The models topic: `consumers.loop.decisions_log.DecisionsLog`."""

    def announced(self) -> Iterator[Record]:
        """Yield the next records of the models topic, from its beginning, up to the newest at the time of the call."""


class VersionAges:
    """Ages of versions at their answers.

    Parameters
    ----------
    made
        Returns when a kept version was made (ms), `None` if it is not kept.
    """

    def __init__(self, topic: Announcements, made: Callable[[VersionId], int | None] = lambda version: None) -> None:
        self._topic = topic
        self._made = made
        self._epochs: dict[tuple[str, int], _Epoch] = {}

    @property
    def known(self) -> int:
        """Number of versions in memory."""
        return sum(len(each.examples) for each in self._epochs.values())

    def of(self, outcomes: Sequence[Outcome], times: Sequence[int]) -> list[int | None]:
        """Return the age (ms) of each answer's version at the answer's time (ms, the broker's).

        `None` for an answer without a version, or if neither the topic nor the store knows the version any more.
        """
        names = [(each.model, each.epoch, each.examples) for each in outcomes]
        began = {name: self._announced(name) for name in {*names} if name[1] >= 0}
        if None in began.values():
            # Predictors serve what is announced, so a new version is on the topic by now.
            for record in self._topic.announced():
                self._take(record)
            self._forget()
            began = {name: self._announced(name) or self._made(VersionId(*name)) for name in began}
        return [
            None if (since := began.get(name)) is None else max(0, time - since)
            for name, time in zip(names, times, strict=True)
        ]

    def _announced(self, name: _Name) -> int | None:
        epoch = self._epochs.get(name[:2])
        return None if epoch is None else epoch.time_of(name[2])

    def _take(self, record: Record) -> None:
        if record.value is None or not (record.key or b"").startswith(_ANNOUNCEMENT):
            return
        try:
            state = read_model_update(record.value).state
        except CodecError:
            return  # any client can write to a topic
        if isinstance(state, Published):
            self._epochs.setdefault((state.model, state.epoch), _Epoch()).add(state.examples, record.timestamp)

    def _forget(self) -> None:
        while self.known > MOST_VERSIONS:
            name = max(self._epochs, key=lambda each: len(self._epochs[each].examples))
            self._epochs[name].forget(1 + MOST_VERSIONS // 10)


class _Epoch:
    """Announced versions of one epoch: their numbers of examples, ascending, and their times (ms)."""

    def __init__(self) -> None:
        self.examples = array("q")
        self._times = array("q")

    def add(self, examples: int, time: int) -> None:
        """Add a version, unless it is known: a learner that starts again announces its version again."""
        at = bisect_left(self.examples, examples)
        if self.examples[at : at + 1] != array("q", [examples]):
            self.examples.insert(at, examples)
            self._times.insert(at, time)

    def time_of(self, examples: int) -> int | None:
        at = bisect_left(self.examples, examples)
        known = at < len(self.examples) and self.examples[at] == examples
        return self._times[at] if known else None

    def forget(self, count: int) -> None:
        del self.examples[:count], self._times[:count]
