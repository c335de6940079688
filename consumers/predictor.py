"""The predictor: features in, exactly one answer for each out, by whichever version is newest."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import msgspec

from consumers import sizes
from consumers.dead_letters import dead_letter
from consumers.failures import RoleFailure
from consumers.log_faults import LogFault, LogRefused, fault_of, short_ids, way
from consumers.outcomes import OutcomeWriter
from consumers.processor import Assignment, Batch, Output, Partition, Place, Positions, Record, Start
from consumers.river_model import NO_ANSWER, Answer, RiverModel
from consumers.topic_memory import TopicMemory
from schemas import codec
from schemas.codec import HEADER_BYTES, CodecError
from schemas.contract import Contract, ContractError
from schemas.events import Event, Features, read_event
from schemas.topics import Names, partition_of

_FAR_FUTURE_MS: Final = 24 * 3600 * 1000
_LONGEST_ID: Final = 1024
_MOST_TO_READ: Final = 4 * sizes.EVENT  # JSON may be larger than the Avro that is made of it
_EVENT_HEADER: Final = codec.EVENT.header
_PREDICTION_HEADER: Final = codec.PREDICTION.header
_HAS_OUTCOME: Final = b"\x02"  # the second branch of [null, Outcome]
WriteOutcome = Callable[[Answer, int, tuple[str, str] | None], bytes]


@dataclass(frozen=True)
class PredictorSettings:
    """What a predictor is given.

    Attributes
    ----------
    partitions
        Of predictions.
    new_epoch
        Go on where the features topic is not what it was when the predictors left it, instead of refusing.
    """

    names: Names
    contract: Contract
    partitions: int
    new_epoch: bool = False


@dataclass(frozen=True)
class ServedVersion:
    """A version ready to answer.

    Attributes
    ----------
    since_ms
        When it was ready here, wall clock.
    delay_ms
        From the broker's time of the oldest label it newly learned to `since_ms`; `None` without labels.
    """

    model: RiverModel
    name: str
    epoch: int
    examples: int
    since_ms: int
    delay_ms: int | None

    def note(self) -> dict[str, str | int | None]:
        """Return what is written of it beside the offsets."""
        return {
            "v": f"{self.epoch}/{self.examples}",
            "at": self.since_ms,
            "delay": self.delay_ms,
            "m": self.name,
        }


class VersionSource(Protocol):
    """Where a predictor finds what to serve."""

    def newest(self) -> ServedVersion | None:
        """Return what is to serve now. Quick: asked before every batch."""


class _Note(msgspec.Struct):
    """What a predictor wrote beside an offset: its topic's id, and how many events of it were never answered."""

    t: str = ""
    gone: int = 0


def _note(place: Place | None) -> _Note:
    try:
        return msgspec.json.decode(place.metadata, type=_Note) if place is not None else _Note()
    except msgspec.DecodeError:
        return _Note()  # written by another tool, which moved the place on purpose


class _Unanswerable(Exception):  # noqa: N818
    """The event gets an error for an answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Question(NamedTuple):
    """What a record asks: `used` are the features that go to the model, `None` where it gets an error instead."""

    event: Event | None
    used: Features | None
    failure: tuple[str, str] | None


class Predictor:
    """A `Processor`. It holds no state but the version it serves.

    Parameters
    ----------
    say
        Takes one line for people.
    memory
        Knows which features topic was read last, and how far.
    """

    def __init__(
        self,
        settings: PredictorSettings,
        versions: VersionSource,
        clock: Callable[[], int] | None = None,
        say: Callable[[str], None] = print,
        memory: TopicMemory | None = None,
    ) -> None:
        self._say = say
        self._memory = memory or TopicMemory()
        self._settings = settings
        self._versions = versions
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._features = settings.names.topic("features")
        self._predictions = settings.names.topic("predictions")
        self._dead_letters = settings.names.topic("dead-letters")
        self._gone: dict[Partition, int] = {}  # events of each assigned partition that were never answered
        self._topic_id = ""
        self._serving: ServedVersion | None = None
        self._metadata: dict[Partition, str] = {}

    @property
    def topics(self) -> Sequence[str]:
        return (self._features,)

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._topic_id = short_ids(assignment.topic_ids[self._features])
        self._gone = {}
        starts: dict[Partition, Start] = {}
        faults: list[LogFault] = []
        for partition, place in assignment.committed.items():
            beginning = assignment.beginnings[partition]
            starts[partition] = Start(live=beginning if place is None else place.offset)
            note = _note(place)
            self._gone[partition] = note.gone
            fault = self._fault(partition, place, note, assignment)
            if fault is not None:
                faults.append(fault)
                self._gone[partition] += 0 if fault.state == "truncated" else fault.gone
                starts[partition] = Start(fault.onward, back=True)
        if faults and not self._settings.new_epoch:
            raise LogRefused(faults, way("predictor"))
        for fault in faults:
            self._say(f"{fault}. Going on, as --new-epoch says")
        self._write_metadata()
        return starts

    def _fault(self, partition: Partition, place: Place | None, note: _Note, assignment: Assignment) -> LogFault | None:
        beginning, end = assignment.beginnings[partition], assignment.ends[partition]
        knew = note.t if place is not None else self._memory.id_of(self._features)
        if knew and knew != self._topic_id:
            offset = None if place is None else place.offset
            return LogFault("predictor", "recreated", *partition, offset, beginning, end)
        if place is not None:
            return fault_of("predictor", partition, place.offset, beginning, end)
        was = self._memory.place_of(self._features, self._topic_id, partition.partition)
        return None if was is None else LogFault("predictor", "forgotten", *partition, was, beginning, end)

    def _write_metadata(self) -> None:
        serving = {"v": None} if self._serving is None else self._serving.note()
        self._metadata = {
            partition: msgspec.json.encode({**serving, "t": self._topic_id, "gone": gone}).decode()
            for partition, gone in self._gone.items()
        }

    def recover(self, batch: Batch) -> None:
        """Never called: there is nothing to recover."""

    def recovered(self) -> None:
        """Nothing to recover."""

    def process(self, batch: Batch) -> list[Output]:
        self._look()
        serving = self._serving
        assert serving is not None  # noqa: S101 - paused() keeps records away until there is a version
        now = self._clock()
        outputs: list[Output] = []
        for partition, records in batch.items():
            write = OutcomeWriter((serving.name, serving.epoch, serving.examples), now, partition).write
            read = [self._prepare(record) for record in records]
            serving.model.ahead([each.used for each in read if each.used is not None])
            for record, each in zip(records, read, strict=True):
                self._answer(record, each, serving, write, now, outputs)
        return outputs

    def tick(self, now_ms: int) -> list[Output]:
        self._look()
        return []

    def _look(self) -> None:
        """Swap, between two events, to the newest version there is."""
        newest = self._versions.newest()
        if newest is not self._serving and newest is not None:
            self._serving = newest
            self._write_metadata()

    def places(self, read: Positions) -> Mapping[Partition, Place]:
        return {partition: Place(offset, self._metadata[partition]) for partition, offset in read.items()}

    def committed(self, places: Mapping[Partition, Place]) -> None:
        offsets = {partition.partition: place.offset for partition, place in places.items()}
        self._memory.remember(self._features, self._topic_id, offsets)

    def paused(self) -> frozenset[Partition]:
        return frozenset() if self._serving is not None else frozenset(self._gone)

    def stopping(self) -> list[Output]:
        return []

    def close(self) -> None:
        """Write down where it stands."""
        self._memory.write()

    # --- one event ---------------------------------------------------------------------------------

    def _prepare(self, record: Record) -> _Question:
        event: Event | None = None
        try:
            event = _read(record)
            _check_time(event, record)
            return _Question(event, self._settings.contract.apply(event.features), None)
        except (_Unanswerable, ContractError) as error:
            return _Question(event, None, (error.code, str(error)))
        except CodecError as error:
            return _Question(event, None, ("codec", str(error)))

    def _answer(
        self,
        record: Record,
        asked: _Question,
        serving: ServedVersion,
        write: WriteOutcome,
        now: int,
        outputs: list[Output],
    ) -> None:
        event, used, failure = asked
        answer = NO_ANSWER
        body: bytes | None = None
        if event is not None and used is not None:
            try:
                answer = _ask(serving, used)
                body = _fitting(_event_body(record, event, used))
            except _Unanswerable as error:
                failure = error.code, str(error)
            except CodecError as error:
                failure = "codec", str(error)
        if event is None:
            event = Event(_stand_in_id(record), max(record.timestamp, 0), {})
            body = event.encode()[HEADER_BYTES:]
        elif body is None:
            body = _failed_body(record, event)
        outcome = write(answer, record.offset, failure)
        event_id = event.event_id
        outputs.append(
            Output(
                self._predictions,
                partition_of(event_id, self._settings.partitions),
                event_id.encode(),
                _PREDICTION_HEADER + body + _HAS_OUTCOME + outcome,
            )
        )
        if failure is not None:
            outputs.append(dead_letter(self._dead_letters, record, "predictor", *failure, now))


def _read(record: Record) -> Event:
    if not record.value:
        raise _Unanswerable("codec", "the event is empty")
    if len(record.value) > _MOST_TO_READ:
        raise _Unanswerable("size", f"the event has {len(record.value)} bytes; at most {sizes.EVENT} are taken")
    try:
        event = read_event(record.value, default_time=record.timestamp)
    except CodecError as error:
        raise _Unanswerable("codec", str(error)) from error
    if not event.event_id or len(event.event_id) > _LONGEST_ID:
        raise _Unanswerable("id", f"the event id has {len(event.event_id)} characters; 1 to {_LONGEST_ID} are taken")
    return event


def _check_time(event: Event, record: Record) -> None:
    if event.event_time < 0 or event.event_time > record.timestamp + _FAR_FUTURE_MS:
        raise _Unanswerable("time", f"event_time {event.event_time} is negative, or over a day in the future")


def _ask(serving: ServedVersion, features: Features) -> Answer:
    try:
        return serving.model.predict(features)
    except RoleFailure:
        raise  # of a version in a process of its own that is gone: no answer is known to this event
    except Exception as error:
        if serving.examples == 0:
            # Untrained, some models raise or answer NaN: no prediction yet. As an error the event would
            # never be joined, and the model never learn.
            return NO_ANSWER
        raise _Unanswerable("model", f"the model refused the event: {type(error).__name__}: {error}") from error


def _stand_in_id(record: Record) -> str:
    """Name an event that does not say its own name: by its key, else by its place."""
    if record.key:
        try:
            text = record.key.decode()
        except UnicodeDecodeError:
            text = ""
        if 0 < len(text) <= _LONGEST_ID:
            return text
    return f"{record.topic}-{record.partition}-{record.offset}"


def _failed_body(record: Record, event: Event) -> bytes:
    """Return the event of an error answer, whatever is in it: without its features, if they cannot be written."""
    try:
        return _fitting(_event_body(record, event, event.features))
    except (CodecError, _Unanswerable):
        return Event(event.event_id, max(record.timestamp, 0), {}).encode()[HEADER_BYTES:]


def _fitting(body: bytes) -> bytes:
    """Insist on an event that fits into what is made of it."""
    if len(body) > sizes.EVENT:
        raise _Unanswerable("size", f"the event has {len(body)} bytes; at most {sizes.EVENT} are taken")
    return body


def _event_body(record: Record, event: Event, used: Features) -> bytes:
    """Return the event's fields: the sender's own bytes where nothing in them had to change."""
    value = record.value
    if used is event.features and value is not None and value.startswith(_EVENT_HEADER):
        return value[HEADER_BYTES:]
    return Event(event.event_id, event.event_time, used, event.entity_key).encode()[HEADER_BYTES:]
