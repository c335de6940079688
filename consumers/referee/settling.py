"""Labelled events that wait until labels have settled, and count in the order of their predictions.

An event counts once the labels' clock of its partition, the greatest time of a label there, is `settle` past its
prediction. So every event of a time has had the same chance to get its label, and quick labels do not outvote slow
ones. Until then a correction replaces the label.

A partition without new labels has no clock of its own. It follows the clock of the whole topic, one label wait behind:
by then every label that can still be joined in time has come, and no partition holds its events back for ever.

Events count by buckets of a hundredth of `settle`, so that much later at most. Within a partition they are in the order
of their predictions. A label that comes after its bucket has counted (`settle` is then shorter than the label wait)
counts when it comes, because leaving it out would favour the models that are right about quick labels.

All this is a function of the records alone, so a process that reads them again counts the same events.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

_BUCKETS: Final = 100


class Labelled(NamedTuple):
    """One labelled event.

    Attributes
    ----------
    at
        Offset of its record.
    partition, offset, time
        Place and broker's time (ms) of the prediction.
    label_time
        The broker's time of the label; of a label that stands for a time-out, the end of the label wait.
    correction
        True if it corrects an earlier label.
    values
        What is counted of it.
    """

    at: int
    partition: int
    offset: int
    time: int
    label_time: int
    correction: bool
    values: Sequence[float]


@dataclass
class _Bucket:
    """Waiting events of a time span of one partition: 16 bytes each, and 8 for each value."""

    first: int  # offset of the first record in it
    places: array[int] = field(default_factory=lambda: array("q"))  # time, offset
    values: array[float] = field(default_factory=lambda: array("d"))

    def ordered(self, width: int) -> list[tuple[int, tuple[float, ...]]]:
        """Return time and values of each event, in the order of predictions; of several labels the last one."""
        last = {(self.places[at], self.places[at + 1]): at // 2 * width for at in range(0, len(self.places), 2)}
        return [(place[0], tuple(self.values[at : at + width])) for place, at in sorted(last.items())]


class Settling:
    """Events that wait for `settle`.

    Parameters
    ----------
    settle_ms, wait_ms
        Time after which an event counts; the stream's label wait.
    width
        Number of values of an event.

    Attributes
    ----------
    bucket_ms
        Length of a bucket.
    waiting
        Number of labels that wait, corrections included.
    first
        Offset of the first record among the events that `add` returned last.
    """

    def __init__(self, settle_ms: int, wait_ms: int, width: int) -> None:
        self._settle = settle_ms
        self._wait = wait_ms
        self._width = width
        self.bucket_ms = max(1, settle_ms // _BUCKETS)
        self._buckets: dict[int, dict[int, _Bucket]] = {}  # by partition and number
        self.waiting = 0
        self.first = 0
        self._clocks: dict[int, int] = {}
        self._clock = 0
        self._settled: dict[int, int] = {}  # by partition, the number of the first bucket that has not counted
        self._next_silent = 0  # time of the topic's clock at which the next silent partition can be due

    def restart(self, since: int, event: Labelled) -> None:
        """Forget what came before, but for the events since then that wait; the clocks are those of this event."""
        kept = {
            partition: {number: bucket for number, bucket in buckets.items() if number * self.bucket_ms >= since}
            for partition, buckets in self._buckets.items()
        }
        self._buckets = {partition: buckets for partition, buckets in kept.items() if buckets}
        self.waiting = sum(len(each.places) // 2 for buckets in self._buckets.values() for each in buckets.values())
        self._clock, self._clocks, self._settled = event.label_time, {event.partition: event.label_time}, {}
        for partition in {event.partition, *self._buckets}:
            self._due(partition)  # nothing is due any more; this notes how far each partition has settled

    def fill(self, event: Labelled) -> None:
        """Take an event that cannot count yet, without regard to clocks."""
        number = event.time // self.bucket_ms
        buckets = self._buckets.setdefault(event.partition, {})
        bucket = buckets.get(number)
        if bucket is None:
            bucket = buckets[number] = _Bucket(event.at)
            self._next_silent = min(self._next_silent, self._end(number) + self._wait)
        bucket.places.extend((event.time, event.offset))
        bucket.values.extend(event.values)
        self.waiting += 1

    def add(self, event: Labelled) -> list[tuple[int, tuple[float, ...]]]:
        """Take an event and return time and values of all events that count now, in order."""
        own = event.partition
        due: list[tuple[int, tuple[float, ...]]] = []
        self.first = event.at
        if event.time // self.bucket_ms >= self._settled.get(own, 0):
            self.fill(event)
        elif not event.correction:
            due.append((event.time, tuple(event.values)))
        self._clock = max(self._clock, event.label_time)
        self._clocks[own] = max(self._clocks.get(own, 0), event.label_time)
        due += self._due(own)
        if self._clock >= self._next_silent:
            for partition in sorted(self._buckets.keys() - {own}):
                due += self._due(partition)
            ends = [self._end(min(buckets)) for buckets in self._buckets.values() if buckets]
            self._next_silent = min(ends, default=self._clock + 1) + self._wait
        return due

    def oldest(self, otherwise: int) -> int:
        """Return the offset of the first record that waits, or that `add` returned last; at most `otherwise`."""
        waiting = (bucket.first for buckets in self._buckets.values() for bucket in buckets.values())
        return min(self.first, otherwise, *waiting)

    def _end(self, number: int) -> int:
        """Return the time of its partition's clock at which a bucket counts."""
        return (number + 1) * self.bucket_ms + self._settle

    def _due(self, partition: int) -> list[tuple[int, tuple[float, ...]]]:
        clock = max(self._clocks.get(partition, 0), self._clock - self._wait)
        settled = (clock - self._settle) // self.bucket_ms
        if settled <= self._settled.get(partition, 0):
            return []
        self._settled[partition] = settled
        buckets = self._buckets.get(partition, {})
        due: list[tuple[int, tuple[float, ...]]] = []
        for number in sorted(number for number in buckets if number < settled):
            bucket = buckets.pop(number)
            self.waiting -= len(bucket.places) // 2
            self.first = min(self.first, bucket.first)
            due += bucket.ordered(self._width)
        return due


class Begun(NamedTuple):
    """Where a period begins: what is needed to have its state again.

    Attributes
    ----------
    read_from
        Offset from which its events must be read.
    at
        Offset of the record with which it began; events before it only wait.
    since
        Broker's time (ms) of the first prediction that counts.
    """

    read_from: int
    at: int
    since: int


class Period:
    """Span of predictions whose events count together; after it the next one begins.

    Parameters
    ----------
    length_ms
        Its length, rounded up to whole buckets.
    count
        Called with the values of each event, in order.
    anew
        Called when the next period begins, before its first event counts.
    begun
        Where it began, if it goes on after a restart: its records must then be given again.

    Attributes
    ----------
    begun
        `None` until the first event.
    """

    def __init__(
        self,
        settling: Settling,
        length_ms: int,
        count: Callable[[Sequence[float]], None],
        anew: Callable[[], None],
        begun: Begun | None = None,
    ) -> None:
        self.settling = settling
        self.begun = begun
        # Whole buckets, so that no bucket has events of two periods.
        self._length = -(-length_ms // settling.bucket_ms) * settling.bucket_ms
        self._count = count
        self._anew = anew

    def take(self, event: Labelled) -> None:
        """Take an event, and count those that are due."""
        if self.begun is None:
            self.begun = Begun(event.at, event.at, event.time - event.time % self.settling.bucket_ms)
        if event.time < self.begun.since:
            return
        if event.at < self.begun.at:
            self.settling.fill(event)
            return
        for time, values in self.settling.add(event):
            if time < self.begun.since:
                continue  # of the period before, in a partition that is behind
            if time >= self.begun.since + self._length:
                self._begin_next(time, event)
            self._count(values)

    def _begin_next(self, time: int, event: Labelled) -> None:
        assert self.begun is not None  # noqa: S101 - an event has counted
        since = self.begun.since + (time - self.begun.since) // self._length * self._length
        self.settling.restart(since, event)
        self.begun = Begun(self.settling.oldest(event.at), event.at, since)
        self._anew()
