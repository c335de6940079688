"""The joiner role: reads predictions and labels, and writes examples. It learns nothing.

The judge is the same code over shadow answers (`consumers.judge.judge`): what differs is a `Joins`.

Its next sequence number, its epoch and its counts are stored in the metadata of both inputs' committed offsets, so the
transaction that writes the examples commits them too. Predictions and labels that wait are in a local store, which is
committed later than those transactions (`consumers.joiner.recovery` says what that means for a start).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from consumers.joiner.example_writer import ExampleWriter
from consumers.joiner.instrumentation import JoinerMeter
from consumers.joiner.join import JoinRules, NotWritten, PartitionJoin
from consumers.joiner.joins import EXAMPLES, Joins
from consumers.joiner.labels import EncodedLabel, LabelReader
from consumers.joiner.local_store import LocalStore
from consumers.joiner.offset_metadata import JoinerMetadata, LocalPlace, meta_key
from consumers.joiner.recovery import JoinerTakeover
from consumers.joiner.snapshot_thread import SnapshotKeeper
from consumers.loop.dead_letters import dead_letter
from consumers.loop.processor import Assignment, Start
from consumers.roles import JOINER
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions, Record
from schemas import codec
from schemas.codec import CodecError
from schemas.target import TargetError
from schemas.topics import Names, partition_of_key

_TICK: Final = codec.TICK.encode({"written_by": JOINER})
_TICK_HEADER: Final = codec.TICK.header
_TICK_EVERY_MS: Final = 1000
# The store is committed less often than the transactions, so a page that many entries share is written once. A store
# that is behind catches up at the next start. Uncommitted entries use memory, so the interval is short.
_KEEP_EVERY_MS: Final = 1000
_KEEP_EVERY_RECORDS: Final = 4000


@dataclass(frozen=True)
class JoinerSettings:
    """Settings of a joiner.

    Attributes
    ----------
    spread
        The number of partitions of predictions and of labels that event ids are spread over: the partition count when
        the stream began. A number in the group's committed metadata takes precedence. Labels in partitions that were
        added later are forwarded.
    max_pending
        Predictions and labels that may wait in one partition before the faster topic is paused.
    new_epoch
        Continue although the topics are no longer the ones that the joiner left, instead of refusing.
    joins
        What is joined with labels.
    """

    names: Names
    rules: JoinRules
    spread: int
    max_pending: int
    new_epoch: bool = False
    joins: Joins = EXAMPLES


class _LabelRecord:
    """A label with its original record, for the dead letter."""

    headers: Sequence[tuple[str, bytes]] = ()

    def __init__(self, topic: str, partition: int, refused: NotWritten) -> None:
        self.topic, self.partition, self.offset = topic, partition, refused.offset
        self.timestamp = refused.time
        self.key: bytes | None = refused.label.event_id
        self.value: bytes | None = refused.label.encode()


class _Lane:
    """One partition's join, its committed metadata and its sequence number."""

    def __init__(self, join: PartitionJoin, place: JoinerMetadata) -> None:
        self.join = join
        self.place = place
        self.last_tick_ms = 0

    def metadata(self) -> str:
        state = self.join.state
        self.place.counts = dict(state.counts)
        self.place.waiting = (state.waiting_predictions, state.waiting_labels)
        self.place.clock = (state.predictions_clock, state.labels_clock)
        self.place.examined = state.examined
        self.place.oldest = self.join.oldest_wait() or 0
        return self.place.encode()


class Joiner:
    """The `Processor` of the joiner; the module docstring describes it.

    Parameters
    ----------
    keeper
        Makes snapshots of the store and gives access to them; `None` turns snapshots off.
    say
        Prints one line for the operator.
    meter
        Counts what was joined.
    first_labels
        Returns the offset at which a new lane begins to read labels, see `JoinerTakeover`.
    """

    def __init__(
        self,
        settings: JoinerSettings,
        store: LocalStore,
        keeper: SnapshotKeeper | None = None,
        say: Callable[[str], None] = print,
        meter: JoinerMeter | None = None,
        first_labels: Callable[[Partition], int | None] | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._keeper = keeper
        self._private = settings.rules.private
        self._meter = meter or JoinerMeter()
        self._joins = settings.joins
        self._predictions = settings.joins.first(settings.names)
        self._labels = settings.names.topic("labels")
        self._examples = settings.names.topic(settings.joins.output)
        self._dead_letters = settings.names.topic("dead-letters")
        self._group = settings.names.group(settings.joins.role)
        self._label_reader = LabelReader(settings.rules.target)
        self._lanes: dict[int, _Lane] = {}
        self._beyond: dict[int, JoinerMetadata] = {}  # places in partitions that no event id belongs to
        self._spread = settings.spread
        self._paused: frozenset[Partition] = frozenset()
        self._agrees = False  # the store agrees with the committed offsets
        self._now_ms = self._kept_at = self._unkept = 0
        self._takeover = JoinerTakeover(
            self._group,
            (self._predictions, self._labels),
            settings.rules,
            settings.new_epoch,
            store,
            None if keeper is None else keeper.snapshots,
            say,
            settings.joins.role,
            first_labels,
        )

    @property
    def topics(self) -> Sequence[str]:
        return (self._predictions, self._labels)

    @property
    def overlaps(self) -> bool:
        return False  # `committed` keeps the state as it is then, which would include the next turn

    # --- assignment --------------------------------------------------------------------------------

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._store.rollback()
        self._agrees = False
        self._lanes, self._beyond = {}, {}
        self._spread = self._takeover.spread(assignment) or self._settings.spread
        starts: dict[Partition, Start] = {}
        for number in sorted({partition.partition for partition in assignment.committed}):
            if number >= self._spread:
                self._beyond[number], begun = self._takeover.take_beyond(number, self._spread, assignment)
                starts.update(begun)
                continue
            taken = self._takeover.take(number, assignment)
            taken.place.spread = self._spread
            join = PartitionJoin(self._store, number, self._settings.rules, taken.state, self._joins.reader())
            self._lanes[number] = _Lane(join, taken.place)
            starts.update(taken.starts)
        return starts

    # --- records -----------------------------------------------------------------------------------

    def recover(self, batch: Batch) -> None:
        for number in sorted({partition.partition for partition in batch}):
            self._apply(number, batch, outputs=None)
            self._lanes[number].join.emitted.clear()
            self._lanes[number].join.refused.clear()

    def recovered(self) -> None:
        for lane in self._lanes.values():
            state = lane.join.state
            # The waits that the committed clocks have passed were ended and emitted before.
            state.predictions_clock = max(state.predictions_clock, lane.place.clock[0])
            state.labels_clock = max(state.labels_clock, lane.place.clock[1])
            lane.join.end_waits_until(lane.place.examined)
            lane.join.emitted.clear()
            lane.join.refused.clear()
            # The committed metadata already includes the counts of the first reading.
            state.counts = dict(lane.place.counts)

    def process(self, batch: Batch) -> list[Output]:
        outputs: list[Output] = []
        self._agrees = False
        self._unkept += sum(map(len, batch.values()))
        for number in sorted({partition.partition for partition in batch}):
            if number in self._beyond:
                self._pass_on(number, batch, outputs)
                continue
            self._apply(number, batch, outputs)
            outputs += self._write(number)
        self._note_full()
        return outputs

    def _apply(self, number: int, batch: Batch, outputs: list[Output] | None) -> None:
        """Apply records, live and in recovery alike; `outputs` is `None` in recovery."""
        join = self._lanes[number].join
        self._apply_predictions(join, batch.get(Partition(self._predictions, number), ()), outputs)
        self._apply_labels(number, join, batch.get(Partition(self._labels, number), ()), outputs)
        if outputs is None:
            # Recovery ends only the waits that had ended before, and only after it has read all records.
            join.flush()
        else:
            join.advance()

    def _apply_predictions(self, join: PartitionJoin, records: Sequence[Record], outputs: list[Output] | None) -> None:
        arrived = []
        header, time_of = self._joins.header, self._joins.time_of
        for record in records:
            value, time = record.value or b"", record.timestamp
            if not value.startswith(header):
                if (passed := self._joins.tick(value)) is not None:
                    join.tick_predictions(passed)
                else:
                    self._refuse(record, "codec", f"not a {self._joins.noun} of Millstream's", outputs)
                continue
            try:
                time = time if time_of is None else time_of(value)
                key = join.arrived(value, time)
            except CodecError as error:
                self._refuse(record, "codec", str(error), outputs)
                continue
            if key is not None:
                arrived.append((key, value, record.offset, time))
        join.predictions(arrived)

    def _apply_labels(
        self, number: int, join: PartitionJoin, records: Sequence[Record], outputs: list[Output] | None
    ) -> None:
        arrived = []
        for record in records:
            value = record.value or b""
            if value.startswith(_TICK_HEADER):
                join.tick(record.timestamp)
                continue
            label = self._read(record, outputs)
            if label is None:
                join.tick(record.timestamp)
                join.count("refused")
                continue
            if partition_of_key(label.event_id, self._spread) != number:
                join.tick(record.timestamp)
                join.count("forwarded")
                if outputs is not None and self._joins.keeps_labels:
                    outputs.append(self._forwarded(label, value))
                continue
            arrived.append((label, record.offset, record.timestamp))
        join.labels(arrived)

    def _pass_on(self, number: int, batch: Batch, outputs: list[Output]) -> None:
        """Forward labels from a partition without event ids to their own partition; refuse predictions there."""
        counts = self._beyond[number].counts
        reason = f"event ids are spread over the first {self._spread} partitions, and this prediction is on {number}"
        for record in batch.get(Partition(self._predictions, number), ()):
            self._refuse(record, "partition", reason, outputs)
        for record in batch.get(Partition(self._labels, number), ()):
            value = record.value or b""
            if value.startswith(_TICK_HEADER):
                continue
            label = self._read(record, outputs)
            if label is not None and self._joins.keeps_labels:
                outputs.append(self._forwarded(label, value))
            fate = "refused" if label is None else "forwarded"
            counts[fate] = counts.get(fate, 0) + 1

    def _forwarded(self, label: EncodedLabel, value: bytes) -> Output:
        return Output(self._labels, partition_of_key(label.event_id, self._spread), label.event_id, value)

    def _read(self, record: Record, outputs: list[Output] | None) -> EncodedLabel | None:
        """Return a record's label; if it holds none, return `None` and write a dead letter."""
        try:
            return self._label_reader.read(record.value or b"", record.timestamp)
        except (CodecError, TargetError) as error:
            code = "codec" if isinstance(error, CodecError) else "label"
            if self._joins.keeps_labels:
                self._refuse(record, code, str(error), outputs)
            return None

    def _refuse(self, record: Record, code: str, reason: str, outputs: list[Output] | None) -> None:
        if outputs is not None:
            time, private = record.timestamp, self._private and record.topic != self._labels
            outputs.append(dead_letter(self._dead_letters, record, self._joins.role, code, reason, time, private))

    def _write(self, number: int) -> list[Output]:
        """Number the joined examples and encode them: the prediction's bytes, then label, lane and offsets."""
        lane = self._lanes[number]
        place, writer = lane.place, ExampleWriter(number, lane.place.epoch, self._joins.output_header)
        outputs = []
        for emitted in lane.join.emitted:
            outputs.append(Output(self._examples, 0, None, writer.write(emitted, place.seq)))
            place.seq += 1
        if outputs:
            self._meter.joined(lane.join.emitted)
        lane.join.emitted.clear()
        for refused in lane.join.refused:
            record = _LabelRecord(self._labels, number, refused)
            letter = refused.code, refused.reason, refused.time
            outputs.append(dead_letter(self._dead_letters, record, self._joins.role, *letter))
        lane.join.refused.clear()
        return outputs

    # --- ticks, offsets, shutdown ------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Output]:
        """Write a tick if no label comes and a wait should end; the tick carries the broker's time."""
        outputs = []
        self._now_ms, self._agrees = now_ms, False
        for number, lane in self._lanes.items():
            lane.join.advance()
            outputs += self._write(number)
            if 0 <= now_ms - lane.last_tick_ms < _TICK_EVERY_MS:
                continue  # a local clock that was set back does not delay the tick
            lane.last_tick_ms = now_ms
            ends = lane.join.oldest_wait_ends()
            due = ends is not None and lane.join.state.labels_clock <= ends < now_ms
            if due and self._joins.keeps_labels:
                outputs.append(Output(self._labels, number, None, _TICK))
        self._note_full()
        return outputs

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        metadata = {number: lane.metadata() for number, lane in self._lanes.items()}
        metadata |= {number: place.encode() for number, place in self._beyond.items()}
        return {partition: CommittedOffset(offset, metadata[partition.partition]) for partition, offset in read.items()}

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        for number, lane in self._lanes.items():
            offsets = tuple(places[Partition(topic, number)].offset for topic in self.topics)
            local = LocalPlace(self._group, lane.place.epoch, (offsets[0], offsets[1]), lane.join.state, lane.place)
            self._store.put(meta_key(number), msgspec.msgpack.encode(local))
        self._agrees = True
        just_kept = 0 <= self._now_ms - self._kept_at < _KEEP_EVERY_MS
        if not just_kept or self._unkept >= _KEEP_EVERY_RECORDS:
            self._kept_at, self._unkept = self._now_ms, 0
            self._store.commit()
            if self._keeper is not None:
                self._keeper.offer(self._store, list(self._lanes))

    def paused(self) -> frozenset[Partition]:
        return self._paused

    def _note_full(self) -> None:
        """At the cap, pause the topic with more waiting records until the other catches up; nothing is dropped."""
        full = set()
        for number, lane in self._lanes.items():
            state = lane.join.state
            if state.waiting_predictions + state.waiting_labels >= self._settings.max_pending:
                more = self._predictions if state.waiting_predictions >= state.waiting_labels else self._labels
                full.add(Partition(more, number))
        self._paused = frozenset(full)

    def stopping(self) -> list[Output]:
        return []

    def close(self) -> None:
        if self._keeper is not None:
            self._keeper.close()  # closed before the store that it reads
        if self._agrees:
            self._store.commit()
        self._store.close()
