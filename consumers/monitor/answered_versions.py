"""Versions that answered in a window, by the partition that the events came from.

One predictor answers a partition of events at a time, so versions that differ between partitions are those of different
processes. The partition of a prediction says nothing of its predictor: it follows from the event's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from schemas.events import Outcome

MOST_SOURCES: Final = 1000
"""Partitions of events in a window; answers to others are passed over."""


class Answered(msgspec.Struct, array_like=True, gc=False):
    """Versions that answered the events of one partition. Times in ms, the broker's.

    Attributes
    ----------
    topic, partition
        Where the events came from: a topic of features, or a server's spool.
    model, epoch
        Of the versions; -1 if there were several models or epochs, which cannot be put in order.
    least, most
        Numbers of examples of the oldest and the newest version.
    first, last
        Times of the first and the last answer.
    """

    topic: str
    partition: int
    model: str
    epoch: int
    least: int
    most: int
    first: int
    last: int

    @property
    def is_one(self) -> bool:
        """True if only one version answered."""
        return self.epoch >= 0 and self.least == self.most

    def join(self, other: Answered) -> None:
        """Take the answers of `other`, which are of the same partition."""
        if (self.model, self.epoch) != (other.model, other.epoch):
            self.epoch = -1
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)


class AnsweredVersions:
    """Collects the versions of one window."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], Answered] = {}

    def add(self, outcomes: Sequence[Outcome], times: Sequence[int]) -> None:
        """Take answers and the broker's times (ms) at which they came."""
        for each, time in zip(outcomes, times, strict=True):
            if each.epoch < 0:
                continue  # no model was asked
            place = each.source_topic, each.source_partition
            found = self._found.get(place)
            if found is None:
                if len(self._found) < MOST_SOURCES:
                    self._found[place] = _single(each, time)
            elif found.epoch == each.epoch and found.model == each.model and time >= found.last:
                found.last = time
                if each.examples > found.most:
                    found.most = each.examples
                elif each.examples < found.least:
                    found.least = each.examples
            else:
                found.join(_single(each, time))

    def encode(self) -> bytes:
        """Return them for the window's record; empty if no version answered."""
        found = sorted(self._found.values(), key=lambda each: (each.topic, each.partition))
        return msgspec.json.encode(found) if found else b""


def _single(outcome: Outcome, time: int) -> Answered:
    place = outcome.source_topic, outcome.source_partition
    return Answered(*place, outcome.model, outcome.epoch, outcome.examples, outcome.examples, time, time)


_read: Final = msgspec.json.Decoder(list[Answered]).decode


def read_answered(encoded: bytes) -> list[Answered]:
    """Return what `AnsweredVersions.encode` returned; nothing if the bytes are anything else."""
    try:
        return _read(encoded) if encoded else []
    except (msgspec.DecodeError, msgspec.ValidationError):
        return []
