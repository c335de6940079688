"""Monitor role: makes windows of predictions, examples and downstream metrics, and has them judged.

A window is a record on the profiles topic, in the transaction that moves the offsets. The committed offset is that of
all records read; the metadata beside it says where the open window begins, and a restart reads it again from there. So
there is no state on disk, and whatever ends a monitor, its windows are those of one that was never ended.

Who owns the profiles topic judges its windows. A start reads that topic from its beginning: windows that were judged
before change only what the judging knows, the others are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import short_ids
from consumers.loop.processor import Assignment, Start
from consumers.loop.start_offsets import Starts
from consumers.monitor.columns import ExampleReader, PredictionReader
from consumers.monitor.judging_protocol import Judging, NewJudging
from consumers.monitor.offset_metadata import LONGEST_FINDING, MOST_FINDINGS, MonitorMetadata
from consumers.monitor.version_ages import VersionAges
from consumers.monitor.windows import (
    EXAMPLES,
    METRICS,
    PREDICTIONS,
    UNREADABLE,
    PartitionWindows,
    Reader,
    WindowRules,
)
from consumers.roles import MONITOR
from runtime.exits import Doubt
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions, Record
from schemas.codec import CodecError
from schemas.profiles import Window, read_window
from schemas.topics import PROFILES, Names

_SAID_IN_FULL: Final = 20

Past: TypeAlias = Generator[Sequence[Window], None, None]
NewPast: TypeAlias = Callable[[Mapping[str, int], Collection[str]], Past]
"""Makes windows that the profiles topic lacks, a part of the log at a time; each list is written whole or not at all.

It is given, by topic, the earliest of the broker's times (ms) in any window, and the topics without windows that a new
monitor reads from the reference's beginning on.
"""


def no_past(first_times: Mapping[str, int], begun: Collection[str]) -> Past:
    """Return no windows: nothing is missing."""
    del first_times, begun
    yield from ()


@dataclass(frozen=True)
class MonitorSettings:
    """Settings of a monitor.

    Attributes
    ----------
    metrics
        By downstream topic: what reads its records.
    new_epoch
        Continue although a topic is no longer the one that the monitor left.
    ages
        Ages of the versions at their answers, `None` to leave them out.
    """

    names: Names
    rules: WindowRules
    metrics: Mapping[str, Reader] = field(default_factory=dict)
    new_epoch: bool = False
    ages: VersionAges | None = None

    def kinds(self) -> dict[str, tuple[str, Reader]]:
        """Return the kind and the reader of the windows of each topic."""
        own: dict[str, tuple[str, Reader]] = {
            self.names.whole: (PREDICTIONS, PredictionReader(self.ages)),
            self.names.topic("examples"): (EXAMPLES, ExampleReader()),
        }
        return own | {topic: (METRICS, reader) for topic, reader in self.metrics.items()}


class Monitor:
    """The `Processor` of the monitor; the module docstring describes it.

    Parameters
    ----------
    new_judging
        Makes what judges, whenever this process takes the profiles topic over.
    first
        Returns the offsets at which a new monitor begins; at the beginning of a partition that is not among them.
    say
        Prints one line for the operator.
    memory
        Remembers which topics were read last, and up to which offsets.
    past
        Makes the windows of a reference that is older than those on the profiles topic; see `NewPast`.
    """

    def __init__(
        self,
        settings: MonitorSettings,
        new_judging: NewJudging,
        first: Callable[[Sequence[Partition]], Positions] = lambda partitions: {},
        say: Callable[[str], None] = print,
        memory: TopicMemory | None = None,
        past: NewPast = no_past,
    ) -> None:
        self._settings = settings
        self._new_judging = new_judging
        self._first = first
        self._say = say
        self._new_past = past
        self._memory = memory or TopicMemory()
        self._kinds = settings.kinds()
        self._profiles = Partition(settings.names.topic(PROFILES), 0)
        self._starts = Starts(MONITOR, MonitorMetadata, self._memory, (), settings.new_epoch, say)
        self._topic_ids: dict[str, str] = {}
        self._notes: dict[Partition, MonitorMetadata] = {}
        self._windows: dict[Partition, PartitionWindows] = {}
        self._judging: Judging | None = None  # None without the profiles topic
        self._past: Past | None = None
        self._unreadable_windows = 0
        # Of a takeover, until it is complete.
        self._judged_before = 0
        self._unjudged: list[Record] = []
        self._unread: dict[Partition, list[Record]] = {}
        self._last: dict[Partition, Window] = {}
        self._first_times: dict[str, int] = {}
        self._fresh: set[Partition] = set()  # in which the group has no place yet
        self._skip: dict[Partition, int] = {}
        self._closed_again: list[Window] = []

    @property
    def topics(self) -> Sequence[str]:
        return (*self._kinds, self._profiles.topic)

    @property
    def overlaps(self) -> bool:
        return True  # what a turn changes is in memory, and is read again if its commit fails

    # --- taking over -------------------------------------------------------------------------------

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._topic_ids = {topic: short_ids(topic_id) for topic, topic_id in assignment.topic_ids.items()}
        self._judging = None
        self._end_past()
        self._windows, self._unread, self._last, self._first_times = {}, {}, {}, {}
        self._unjudged, self._closed_again = [], []
        self._skip = {}
        starts, self._notes = self._starts.take(assignment)
        watched = [partition for partition in starts if partition != self._profiles]
        fresh = [at for at in watched if assignment.committed[at] is None and not starts[at].back]
        self._fresh = {*fresh}
        first = self._first(fresh) if fresh else {}
        for partition in watched:
            self._windows[partition] = self._new_windows(partition)
            starts[partition] = self._start(partition, starts[partition], assignment, first)
        if self._profiles in starts:
            starts[self._profiles] = self._take_judging_over(starts[self._profiles], assignment)
        elif any(self._needs_state(partition) for partition in starts):
            raise Doubt("the topics of examples and profiles are assigned to different monitors")
        return starts

    def _new_windows(self, partition: Partition, state: bytes = b"") -> PartitionWindows:
        kind, reader = self._kinds[partition.topic]
        return PartitionWindows(kind, self._settings.rules, reader, state)

    def _needs_state(self, partition: Partition) -> bool:
        # The log of examples is one partition; no role reads what was added to it.
        return self._kinds[partition.topic][0] == EXAMPLES and partition.partition == 0

    def _start(self, partition: Partition, start: Start, assignment: Assignment, first: Positions) -> Start:
        """Return where to read on, and from where the open window is read again."""
        note = self._notes[partition]
        if partition in self._fresh:
            return replace(start, live=max(start.live, first.get(partition, start.live)))
        if start.back:
            note.open = note.before = -1  # what it held is not in this log
        elif 0 <= note.open < assignment.beginnings[partition]:
            self._say(f"{partition.topic}[{partition.partition}]: the first records of the open window are gone")
        beginning = assignment.beginnings[partition]
        return start if note.open < 0 else replace(start, recover_from=max(note.open, beginning))

    def _take_judging_over(self, start: Start, assignment: Assignment) -> Start:
        """Return the start on the profiles topic: all of it is read before anything else is judged.

        The window before an open one, which has its state, can be among those that were not judged yet.
        """
        self._judging = self._new_judging()
        self._judging.restore(self._notes[self._profiles].judged)
        end = assignment.ends[self._profiles]
        # Windows that another group wrote, as after a restored backup, are history.
        self._judged_before = end if assignment.committed[self._profiles] is None else start.live
        return replace(start, live=max(start.live, end), recover_from=assignment.beginnings[self._profiles])

    def recover(self, batch: Batch) -> None:
        for partition, records in batch.items():
            if partition == self._profiles:
                self._recover_windows(records)
            elif self._needs_state(partition):
                self._unread.setdefault(partition, []).extend(records)  # the state comes with the profiles
            else:
                self._closed_again += self._windows[partition].take(records)

    def _recover_windows(self, records: Sequence[Record]) -> None:
        for record in records:
            if record.offset >= self._judged_before:
                self._unjudged.append(record)
                window = self._read(record)
            elif (window := self._read(record)) is not None and self._judging is not None:
                self._judging.recover(window)
            if window is None or window.topic not in self._kinds:
                continue
            first = self._first_times.get(window.topic, window.first_time)
            self._first_times[window.topic] = min(first, window.first_time)
            partition = Partition(window.topic, window.partition)
            # No window goes on from one without a state: it came from a pass over the past.
            if window.partition >= 0 and window.state and self._needs_state(partition):
                self._last[partition] = window

    def recovered(self) -> None:
        for partition in self._windows:
            if not self._needs_state(partition):
                continue
            if partition in self._fresh and partition in self._last:
                # The log was restored, and its windows with it.
                self._notes[partition].before = self._last[partition].first_offset
            self._windows[partition] = self._new_windows(partition, self._state_of(partition))
            records = self._unread.pop(partition, None)
            if records:
                self._closed_again += self._windows[partition].take(records)
        self._last = {}
        if self._judging is not None:
            self._judging.recovered()
            begun = {each.topic for each in self._fresh} - self._first_times.keys()
            self._past = self._new_past(self._first_times, begun)

    def _state_of(self, partition: Partition) -> bytes:
        """Return the state that the partition's open window goes on with, and note where it can begin."""
        before, last = self._notes[partition].before, self._last.get(partition)
        if before < 0:
            return b""
        if last is None:
            self._say(f"{self._profiles.topic} no longer has the window before the open one: baselines begin anew")
            return b""
        if last.first_offset != before and not self._settings.new_epoch:
            raise Doubt(f"{self._profiles.topic} does not show the window from {before} of {partition.topic} yet")
        self._skip[partition] = last.next_offset
        return last.state

    # --- records -----------------------------------------------------------------------------------

    def process(self, batch: Batch) -> list[Output]:
        outputs = self._left_over()
        for partition, records in batch.items():
            if partition == self._profiles:
                for record in records:
                    outputs += self._judge(record)
            else:
                outputs += self._write(self._windows[partition].take(self._new_of(partition, records)))
        return outputs

    def _new_of(self, partition: Partition, records: Sequence[Record]) -> Sequence[Record]:
        """Return the records that are in no window yet."""
        seen = self._skip.get(partition, 0)
        return records if records[0].offset >= seen else [each for each in records if each.offset >= seen]

    def tick(self, now_ms: int) -> list[Output]:
        outputs = self._left_over() + self._of_past()
        return outputs + self._judging.tick(now_ms) if self._judging is not None else outputs

    def _of_past(self) -> list[Output]:
        """Return the next windows of the past. They are judged when they are read again, like all others."""
        windows = None if self._past is None else next(self._past, None)
        if windows is None:
            self._past = None
            return []
        return [self._output(window) for window in windows]

    def _end_past(self) -> None:
        if self._past is not None:
            self._past.close()
        self._past = None

    def _left_over(self) -> list[Output]:
        """Return what a takeover has found to do: windows that were not judged, and ones that are closed by now."""
        unjudged, self._unjudged = self._unjudged, []
        closed, self._closed_again = self._closed_again, []
        return [output for record in unjudged for output in self._judge(record)] + self._write(closed)

    def _write(self, closed: Sequence[Window]) -> list[Output]:
        """Return the records of windows that have closed."""
        for window in closed:
            note = self._notes[Partition(window.topic, window.partition)]
            note.before, note.last = window.first_offset, window.last_time
            note.windows += 1
            note.events += window.events
            note.unreadable += window.errors.get(UNREADABLE, 0)
        return [self._output(window) for window in closed]

    def _output(self, window: Window) -> Output:
        return Output(*self._profiles, window.key, window.encode())

    def _judge(self, record: Record) -> list[Output]:
        window = self._read(record)
        return [] if window is None or self._judging is None else self._judging.take(window)

    def _read(self, record: Record) -> Window | None:
        if record.value is None:
            return None
        try:
            return read_window(record.value)
        except CodecError as error:
            self._unreadable_windows += 1
            if self._unreadable_windows <= _SAID_IN_FULL:
                self._say(f"{record.topic} offset {record.offset} is not judged: {error}")
            return None

    # --- offsets, shutdown -------------------------------------------------------------------------

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        return {
            partition: CommittedOffset(offset, self._note(partition).encode()) for partition, offset in read.items()
        }

    def _note(self, partition: Partition) -> MonitorMetadata:
        """Return the partition's metadata, up to date."""
        note = self._notes[partition]
        if partition != self._profiles:
            window = self._windows[partition].open
            note.open = -1 if window is None else window.first_offset
        elif self._judging is not None:
            found = self._judging.open_findings()
            note.finding, note.findings = len(found), [each[:LONGEST_FINDING] for each in found[:MOST_FINDINGS]]
            note.judged = self._judging.remembered()
            note.unreadable = self._unreadable_windows
        return note

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        by_topic: dict[str, dict[int, int]] = {}
        for partition, place in places.items():
            by_topic.setdefault(partition.topic, {})[partition.partition] = place.offset
        for topic, offsets in by_topic.items():
            self._memory.remember(topic, self._topic_ids[topic], offsets)

    def paused(self) -> frozenset[Partition]:
        return frozenset()

    def stopping(self) -> list[Output]:
        return []

    def close(self) -> None:
        """Save the topics and the offsets read so far."""
        self._end_past()
        self._memory.write()
