"""Rows to evaluate on, from a file or a stream's examples log; both can be read again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final, Protocol

import msgspec

from millstream.reading import topic_readers
from millstream.reading.offset_ranges import Edge, span
from millstream.scaffold.open_data import source_of
from millstream.stream.stream import Stream
from producers.rows import BadRow, RowSource, SourceError
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition, Record
from schemas.codec import CodecError
from schemas.contract import ContractError
from schemas.events import Features, LabelValue, Lane
from schemas.fast_examples import EntryReader
from schemas.preparing import of_event
from schemas.topics import Names

_SHOWN: Final = 5
ALL: Final = Edge()
Served = tuple[LabelValue | None, dict[str, float] | None]


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row.

    Attributes
    ----------
    number
        From 1 in a file; the offset on a log.
    time_ms
        The event's time; on a log the broker's time of its prediction, if it has one.
    weight
        As the log has it; `None` in a file, where the stream's own weight counts.
    served, times
        On a log: the answer that was served, and the broker's times of prediction and label.
    event_id, came_ms
        On a log: the event, and the broker's time of the record (ms).
    """

    number: int
    features: Features
    label: LabelValue | None
    time_ms: int | None
    weight: float | None = None
    correction: bool = False
    served: Served | None = None
    times: tuple[int, int] | None = None
    event_id: str = ""
    came_ms: int = 0


class Refusals:
    """Rows that are no events: their number, and the first of them in words."""

    def __init__(self) -> None:
        self.count = 0
        self.first: dict[str, str] = {}

    def add(self, where: str, reason: str, rows: int = 1) -> None:
        """Count a refusal."""
        self.count += rows
        if where in self.first or len(self.first) < _SHOWN:
            self.first.setdefault(where, reason)


class Rows(Protocol):
    """A source of rows for several models at once."""

    name: str
    unit: str
    has_times: bool

    def count(self) -> int | None:
        """Return the number of rows, `None` if it would cost too much."""

    def read(self, refused: Refusals) -> Iterator[tuple[Row, ...]]:
        """Yield one row for each model, all of the same event. Rows that any stream cannot read are left out."""

    def remark(self) -> str | None:
        """Return what has happened to the source meanwhile, if that matters to the reader of the results."""


class FileRows:
    """Rows of a file or of ``river:NAME``, read as each stream's events."""

    def __init__(self, streams: Sequence[Stream], place: str) -> None:
        sources = [source_of(stream, place, labelled=stream.labels.on_timeout is None) for stream in streams]
        for stream in streams:
            if stream.calendar is not None and stream.time is None:
                raise SourceError(
                    f"{stream.name} has a Calendar, but its stream file names no column with an event's time (time=)"
                )
        self._readers: list[RowSource] = []
        self._of_stream: list[int] = []
        for source in sources:
            same = next((n for n, each in enumerate(self._readers) if each.spec == source.spec), len(self._readers))
            if same == len(self._readers):
                self._readers.append(source)
            self._of_stream.append(same)
        self.name, self.unit = sources[0].name, sources[0].unit
        self.has_times = all(stream.time is not None for stream in streams)
        # A file may grow while it is read: each pass ends at the row that was the last one at first.
        self._stamp = self._readers[0].stamp()
        self._count = self._readers[0].count()
        self._last = None if self._stamp is None else self._count

    def count(self) -> int | None:
        return self._count

    def remark(self) -> str | None:
        if self._readers[0].stamp() == self._stamp:
            return None
        return f"{self.name} was changed while it was read: rows added meanwhile are not measured"

    def read(self, refused: Refusals) -> Iterator[tuple[Row, ...]]:
        if len(self._readers) == 1:
            many = len(self._of_stream)

            def note(bad: BadRow) -> None:
                refused.add(f"{self.unit} {bad.line}", bad.reason, bad.rows)

            for found in _read(self._readers[0], note, self._last):
                yield (found,) * many
            return
        yield from self._together(refused)

    def _together(self, refused: Refusals) -> Iterator[tuple[Row, ...]]:
        """Yield the rows that every stream can read; a row that one of them refuses is counted once."""
        readers = [_numbered(reader, self._last) for reader in self._readers]
        # One reader may see an unfinished last line that the next one finds complete.
        for several in zip(*readers, strict=False):
            wrong = next((each for each in several if isinstance(each, BadRow)), None)
            if wrong is not None:
                refused.add(f"{self.unit} {wrong.line}", wrong.reason, wrong.rows)
                continue
            yield tuple(several[n] for n in self._of_stream)


def _numbered(reader: RowSource, last: int | None) -> Iterator[Row | BadRow]:
    """Yield good and bad rows in the order of the file."""
    bad: list[BadRow] = []
    for found in _read(reader, bad.append, last):
        yield from bad
        bad.clear()
        yield found
    yield from bad


def _read(reader: RowSource, on_bad: Callable[[BadRow], None], last: int | None) -> Iterator[Row]:
    """Yield rows up to the one numbered `last`, with the features as the predictor uses them: a `Calendar`'s too."""
    contract, prepare = reader.spec.contract, reader.spec.prepare
    computed = contract.calendar is not None or prepare is not None
    for row in reader.rows(on_bad):
        if last is not None and row.row_number > last:
            return
        features = row.features
        if computed:
            try:
                features = of_event(contract, prepare, features, row.event_time_ms)
            except ContractError as error:
                on_bad(reader.bad(row.line, str(error)))
                continue
        yield Row(row.row_number, features, row.label, row.event_time_ms)


class Repeats:
    """Recognises entries of a log that repeat earlier ones of their lane, which a learner skips too."""

    def __init__(self) -> None:
        self._lanes: dict[str, tuple[str, int]] = {}

    def note(self, lane: Lane) -> bool:
        """Return whether the entry is a repeat; if not, the lane goes on behind it."""
        epoch, following = self._lanes.get(lane.name, (lane.epoch, 0))
        if epoch == lane.epoch and lane.sequence < following:
            return True
        self._lanes[lane.name] = (lane.epoch, lane.sequence + 1)
        return False


class LogRows:
    """The examples log of a stream, or a range of it; its end is that at the first reading.

    Attributes
    ----------
    begin, end
        Offsets of the range.
    said
        The range as it was asked for.
    """

    unit = "offset"
    has_times = True

    def __init__(self, cluster: Cluster, names: Names, models: int, first: Edge = ALL, last: Edge = ALL) -> None:
        self._cluster = cluster
        self._topic = names.topic("examples")
        self._models = models
        self.name = self._topic
        with closing(cluster.consumer()) as consumer:
            topic_readers.partitions_of(consumer, self._topic)  # else there is none to look for a range in
            found = span(consumer, self._topic, 1, first, last)
        self.begin, self.end = found.begin[0], found.end[0]
        self.said = f"{first.text or 'its beginning'} to {last.text or 'its end'}"

    def count(self) -> int | None:
        return self.end - self.begin

    def remark(self) -> str | None:
        return None  # what is written to a log meanwhile is another evaluation's

    def read(self, refused: Refusals) -> Iterator[tuple[Row, ...]]:
        reader, repeats = EntryReader(), Repeats()
        with closing(self._cluster.consumer()) as consumer:
            place = Partition(self._topic, 0)
            for record in topic_readers.between(consumer, place, self.begin, self.end):
                try:
                    entry = reader.read(record.value or b"")
                except CodecError as error:
                    refused.add(f"offset {record.offset}", str(error))
                    continue
                if not repeats.note(entry.lane):
                    yield (_row(record, entry),) * self._models


def _row(record: Record, entry: Any) -> Row:
    return Row(
        record.offset,
        entry.features,
        entry.label,
        None if entry.times is None else entry.times[0],
        entry.weight,
        entry.correction,
        (entry.prediction, entry.probabilities) if entry.answered else None,
        entry.times,
        entry.event_id,
        record.timestamp,
    )
