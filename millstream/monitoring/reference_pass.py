"""One pass over the log for the windows of a fixed reference that the profiles topic does not have.

It is read backwards, in parts of about an hour, and the windows of a part belong together. So whoever is interrupted
goes on before the earliest window that is there. A part is read forwards, by the code that makes the monitor's windows.
A last record, the mark, says that nothing before it is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from consumers.monitor.drift.rules import Between
from consumers.monitor.monitor import MonitorSettings, NewPast, Past
from consumers.monitor.served import DecidedBy
from consumers.monitor.served.decided import DecisionRecords
from consumers.monitor.version_ages import VersionAges
from consumers.monitor.windows import PartitionWindows, Reader, WindowRules
from millstream.monitoring.reference import first_time
from millstream.reading.timestamps import utc
from millstream.reading.topic_readers import between, partitions_of
from millstream.stream.monitor_rules import window_rules
from millstream.stream.stream import Stream
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition, Positions
from schemas.profiles import HOUR_MS, Window
from schemas.topics import Names

_MOST_RECORDS: Final = 200_000
"""Records of a part, if it is longer than one window: their windows are in memory together."""

_BATCH: Final = 1000
_STEP_S: Final = 0.5
_TOLD_S: Final = 10.0
_OTHER: Final = "name a later range, a version or an epoch that has learned since then, or a span such as '7d'"
_MARK_SPAN: Final = 1
"""Length (ms) of the mark: no other window has it, so the mark never replaces one."""

Kinds: TypeAlias = Mapping[str, tuple[str, Reader]]
"""Kind and reader of the windows of each topic."""


@dataclass(frozen=True)
class Missing:
    """Part of the reference that has no windows of one topic.

    Attributes
    ----------
    since, until
        Begin and end (ms), multiples of a window's length unless the windows that are there begin at `until`.
    records
        Number of offsets in it.
    told
        What the log no longer has, for people; otherwise empty.
    lost
        True if the log has nothing of the whole reference.
    """

    topic: str
    since: int
    until: int
    records: int
    told: str = ""
    lost: bool = False


@dataclass(frozen=True)
class Step:
    """About half a second of the pass: windows that belong together, often none, and how many offsets were read."""

    windows: Sequence[Window]
    done: int


class DecidedIn(DecidedBy):
    """Decisions in force at any time of a range, for examples that are not read in the order of time.

    Parameters
    ----------
    since_ms, until_ms
        Begin and end of the range by the broker's time.
    """

    def __init__(self, log: DecisionRecords, wait_ms: int, since_ms: int, until_ms: int) -> None:
        super().__init__(log, wait_ms)
        self._range = since_ms, until_ms

    def cover(self, oldest: int, newest: int) -> None:
        """Read what is needed of the range, once."""
        del oldest, newest
        super().cover(*self._range)


class ReferencePass:
    """Makes the windows of a reference from the log.

    Parameters
    ----------
    make_consumer
        Returns a consumer that belongs to no group.
    kinds, rules
        As of the monitor's windows.
    name
        The reference as the stream file names it.
    clock
        Returns seconds, for the length of a step.
    """

    def __init__(
        self,
        make_consumer: Callable[[], Consumer],
        kinds: Kinds,
        rules: WindowRules,
        reference: Between,
        name: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_consumer = make_consumer
        self._kinds = kinds
        self._rules = rules
        self._reference = reference
        self.name = name
        self._clock = clock

    def missing(self, first_times: Mapping[str, int], begun: Collection[str] = ()) -> list[Missing]:
        """Return what is missing, by topic.

        Parameters
        ----------
        first_times
            By topic, the earliest time (ms) in any window that is there.
        begun
            Topics that somebody else reads from the reference's beginning on.
        """
        with closing(self._make_consumer()) as consumer:
            there = consumer.topics()
            topics = [topic for topic in self._kinds if topic in there]
            found = [self._missing_of(consumer, topic, first_times.get(topic), topic in begun) for topic in topics]
        return [each for each in found if each is not None]

    def _missing_of(self, consumer: Consumer, topic: str, first: int | None, begun: bool) -> Missing | None:
        span, reference = self._rules.span_ms, self._reference
        since = reference.since_ms // span * span
        if first is not None and first // span * span <= since:
            return None
        until = -(-reference.until_ms // span) * span
        partitions = partitions_of(consumer, topic)
        beginnings = consumer.beginning_offsets(partitions)
        times = [time for each in partitions if (time := first_time(consumer, each)) is not None]
        there = min(times, default=None)
        if (first is None or first >= until) and (there is None or there >= reference.until_ms):
            return Missing(topic, since, since, 0, self._told(topic, there), lost=True)
        cut = any(beginnings.values()) and (there is None or there // span * span > since)
        told = self._told(topic, there, "the reference is what is left of it") if cut else ""
        since = max(since, min((there or since) // span * span, until))
        until = since if begun else max(since, until if first is None else min(until, first))
        begins, ends = _offsets(consumer, partitions, since), _offsets(consumer, partitions, until)
        return Missing(topic, since, until, sum(ends[each] - begins[each] for each in partitions), told)

    def _told(self, topic: str, there: int | None, way: str = _OTHER) -> str:
        it = self._reference
        held = "has no records" if there is None else f"begins at {utc(there)} UTC"
        return f"Watch: reference={self.name!r} ({utc(it.since_ms)} to {utc(it.until_ms)} UTC): {topic} {held}; {way}"

    def steps(self, parts: Iterable[Missing]) -> Generator[Step, None, None]:
        """Read what is missing; yield the windows in the order in which they must be written."""
        done = 0
        with closing(self._make_consumer()) as consumer:
            for part in parts:
                if part.lost:
                    continue
                for step in self._topic(consumer, part):
                    done += step.done
                    yield Step(step.windows, done)
                yield Step([self._mark(part)], done)

    def _mark(self, part: Missing) -> Window:
        span, since = self._rules.span_ms, self._reference.since_ms
        kind, start = self._kinds[part.topic][0], since // span * span
        return Window(kind, part.topic, -1, -1, -1, start, _MARK_SPAN, start, start, 0, {}, {}, 0, None, [])

    def _topic(self, consumer: Consumer, part: Missing) -> Iterator[Step]:
        partitions = partitions_of(consumer, part.topic)
        end, ends = part.until, _offsets(consumer, partitions, part.until)
        whole = max(HOUR_MS // self._rules.span_ms, 1) * self._rules.span_ms
        while end > part.since:
            length = whole
            while True:
                begin = max(part.since, (end - 1) // length * length)
                begins = _offsets(consumer, partitions, begin)
                count = sum(ends[each] - begins[each] for each in partitions)
                if count <= _MOST_RECORDS or length == self._rules.span_ms:
                    break
                length = max(length // 2 // self._rules.span_ms, 1) * self._rules.span_ms
            yield from self._part(consumer, part.topic, begins, ends)
            end, ends = begin, begins

    def _part(self, consumer: Consumer, topic: str, begins: Positions, ends: Positions) -> Iterator[Step]:
        """Read one part; its windows come with its last step."""
        kind, reader = self._kinds[topic]
        found: list[Window] = []
        left, read, until = sum(end - begins[each] for each, end in ends.items()), 0, self._clock() + _STEP_S
        for partition, end in sorted(ends.items()):
            if begins[partition] >= end:
                continue
            windows = PartitionWindows(kind, self._rules, reader)
            records = between(consumer, partition, begins[partition], end)
            while batch := [*islice(records, _BATCH)]:
                found += windows.take(batch)
                read += len(batch)
                if self._clock() >= until:
                    yield Step((), read)
                    left, read, until = left - read, 0, self._clock() + _STEP_S
            found += windows.finish()
        # No window goes on with the state of one that was made so.
        found = [msgspec.structs.replace(each, state=b"") for each in found]
        found.sort(key=lambda each: (each.start, each.partition, each.first_offset))
        yield Step(found, left)


def _offsets(consumer: Consumer, partitions: Sequence[Partition], time_ms: int) -> dict[Partition, int]:
    """Return the first offset of each partition at or after a time, the end where there is none."""
    found = consumer.offsets_for_times(dict.fromkeys(partitions, time_ms))
    ends = consumer.end_offsets(partitions)
    return {each: ends[each] if (at := found[each]) is None else at for each in partitions}


def pass_of(
    stream: Stream,
    cluster: Cluster,
    names: Names,
    log: DecisionRecords,
    metrics: Mapping[str, Reader],
    reference: Between,
    key: bytes,
    ages: VersionAges | None = None,
) -> ReferencePass:
    """Return the pass over a stream's log.

    Parameters
    ----------
    log
        Decisions, of which nobody else may read.
    metrics
        Readers of the downstream topics.
    key
        Secret of the hashes of private values.
    ages
        Ages of the versions at their answers, `None` to leave them out.
    """
    span = stream.watch.window_ms
    decided = DecidedIn(log, stream.labels.wait_ms, reference.since_ms - span, reference.until_ms + span)
    settings = MonitorSettings(names, window_rules(stream, decided, key), metrics, ages=ages)
    return ReferencePass(
        lambda: cluster.consumer(max_poll_records=5000, max_partition_fetch_bytes=4 << 20),
        settings.kinds(),
        settings.rules,
        reference,
        str(stream.watch.reference).strip(),
    )


def told_pass(made: ReferencePass, say: Callable[[str], None]) -> NewPast:
    """Return the pass as a monitor makes it, with a line about its progress every ten seconds."""

    def past(first_times: Mapping[str, int], begun: Collection[str]) -> Past:
        parts = made.missing(first_times, begun)
        for each in parts:
            if each.told:
                say(each.told)
        total, count, told = sum(each.records for each in parts), 0, time.monotonic()
        if total:
            say(f"reading the reference {made.name!r} from the log: {total:,} records")
        for step in made.steps(parts):
            count += sum(window.partition >= 0 for window in step.windows)
            if time.monotonic() - told >= _TOLD_S:
                told = time.monotonic()
                say(f"reading the reference {made.name!r}: {step.done:,} of {total:,} records")
            yield step.windows
        if total:
            say(f"the reference {made.name!r} is read: {count:,} windows")

    return past


def shown_pass(
    made: ReferencePass, parts: Sequence[Missing], show: Callable[[int, int], None]
) -> Iterator[Sequence[Window]]:
    """Yield the windows of the pass, and show how many of how many records are read."""
    total = sum(each.records for each in parts)
    for step in made.steps(parts):
        if total:
            show(step.done, total)
        yield step.windows
