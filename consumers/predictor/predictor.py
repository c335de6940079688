"""The predictor role: answers each event exactly once, with the newest version."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

from msgspec import UNSET

from consumers.loop.dead_letters import dead_letter
from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import short_ids
from consumers.loop.processor import Assignment, Start
from consumers.loop.start_offsets import Starts
from consumers.model.river_model import NO_ANSWER, Answer, RiverModel
from consumers.predictor.fast_outcomes import OutcomeWriter
from consumers.predictor.feature_requests import Question, Questions, Unanswerable
from consumers.predictor.known_shapes import Known, KnownShapes
from consumers.predictor.offset_metadata import PredictorMetadata
from consumers.predictor.prediction_records import WHOLE, Form, PredictionRecords
from consumers.roles import PREDICTOR
from model_store import VersionId
from runtime.exits import RoleFailure
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions, Record
from schemas.codec import HEADER_BYTES, CodecError
from schemas.contract import Contract
from schemas.event_times import EventTime, marked
from schemas.events import Event, Features
from schemas.model_names import version_text
from schemas.preparing import Prepare
from schemas.sources.event_mapping import EventMapping
from schemas.topics import Names

Failure: TypeAlias = tuple[str, str]  # code and sentence


@dataclass(frozen=True)
class PredictorSettings:
    """Settings of a predictor.

    Attributes
    ----------
    spread
        The number of partitions of whole predictions that event ids are spread over: the count when the stream began.
    new_epoch
        Continue although the features topic is no longer the one that the predictors left, instead of refusing.
    mapping
        Maps the messages of an external features topic.
    start
        Start position of a group that has never read the topic.
    form
        Format of the public predictions.
    prepare
        The stream's function that computes the features from those that were sent.
    tell_times
        Tell in headers when events came on their topic (`schemas.event_times`); not for answers to events of the past.
    """

    names: Names
    contract: Contract
    spread: int
    new_epoch: bool = False
    mapping: EventMapping | None = None
    start: Literal["beginning", "end"] = "beginning"
    form: Form = WHOLE
    prepare: Prepare | None = None
    tell_times: bool = True


@dataclass(frozen=True)
class ServedVersion:
    """A loaded version, ready to answer.

    Attributes
    ----------
    since_ms
        Wall clock time at which it was ready here, ms.
    delay_ms
        Milliseconds from the broker time of the oldest newly learned label to `since_ms`. `None` if the version learned
        no new labels, or an earlier served version already had them.
    probes
        Features of a few events that it had learned when it was written, as the model is given them.
    apart
        True if the model is in a process of its own.
    """

    model: RiverModel
    name: str
    epoch: int
    examples: int
    since_ms: int
    delay_ms: int | None
    probes: Sequence[Features] = ()
    apart: bool = False

    @property
    def id(self) -> VersionId:
        """Return the version's name."""
        return VersionId(self.name, self.epoch, self.examples)


class VersionSource(Protocol):
    """Source of the version that a predictor serves."""

    def newest(self) -> ServedVersion | None:
        """Return the version to serve now. Must be quick: called before every batch."""


class Predictor:
    """The `Processor` of the predictor. The version it serves is its only state.

    Parameters
    ----------
    say
        Prints one line for the operator.
    memory
        Remembers which features topic was read last, and up to which offset.
    """

    def __init__(
        self,
        settings: PredictorSettings,
        versions: VersionSource,
        clock: Callable[[], int] | None = None,
        say: Callable[[str], None] = print,
        memory: TopicMemory | None = None,
    ) -> None:
        self._memory = memory or TopicMemory()
        self._settings = settings
        self._versions = versions
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._features = settings.names.topic("features")
        at_end = (self._features,) if settings.start == "end" else ()
        self._starts = Starts(PREDICTOR, PredictorMetadata, self._memory, at_end, settings.new_epoch, say)
        self._questions = Questions(settings.contract, settings.mapping, self._clock, settings.prepare)
        # Messages of an external topic have no shape, and what `prepare` makes of an event has to be asked.
        shapeless = settings.mapping is not None or settings.prepare is not None
        known = self._questions if shapeless else KnownShapes(self._questions, settings.contract)
        self._read: Callable[[Sequence[Record]], Sequence[Known | Question]] = known.read
        self._answers = PredictionRecords(settings.names, settings.spread, settings.form)
        self._dead_letters = settings.names.topic("dead-letters")
        self._notes: dict[Partition, PredictorMetadata] = {}
        self._topic_id = ""
        self._serving: ServedVersion | None = None
        self._now = 0  # of this batch, ms
        self._metadata: dict[Partition, str] = {}

    @property
    def topics(self) -> Sequence[str]:
        return (self._features,)

    @property
    def overlaps(self) -> bool:
        return True

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._topic_id = short_ids(assignment.topic_ids[self._features])
        starts, self._notes = self._starts.take(assignment)
        self._write_metadata()
        return starts

    def _write_metadata(self) -> None:
        serving = self._serving
        for note in self._notes.values():
            note.spread = self._settings.spread
            if serving is None:
                note.version, note.since_ms, note.delay_ms, note.model = None, UNSET, UNSET, UNSET
            else:
                name = serving.name
                note.version, note.model = version_text(name, serving.epoch, serving.examples), name
                note.since_ms, note.delay_ms = serving.since_ms, serving.delay_ms
        self._metadata = {partition: note.encode() for partition, note in self._notes.items()}

    def recover(self, batch: Batch) -> None:
        """Never called: there is nothing to recover."""

    def recovered(self) -> None:
        """Nothing to recover."""

    def process(self, batch: Batch) -> list[Output]:
        self._look()
        serving = self._serving
        assert serving is not None  # noqa: S101 - paused() keeps records away until there is a version
        self._now = now = self._clock()
        outputs: list[Output] = []
        for partition, records in batch.items():
            writer = OutcomeWriter((serving.name, serving.epoch, serving.examples), now, partition)
            read = self._read(records)
            serving.model.ahead([each.used for each in read if each.used is not None])
            begin = len(outputs)
            for record, each in zip(records, read, strict=True):
                if isinstance(each, Known):
                    outputs += self._answer_known(record, each, serving, writer)
                else:
                    outputs += self._answer(record, each, serving, writer)
            if self._settings.tell_times:
                self._tell_times(records, outputs, begin)
        return outputs

    def _tell_times(self, records: Sequence[Record], outputs: list[Output], begin: int) -> None:
        """Add headers with the events' times to some of the whole predictions among the outputs from `begin`."""
        count = len(records)
        places: Sequence[int] = range(begin, len(outputs))
        if len(places) != count:
            whole = self._settings.names.whole
            places = [place for place in places if outputs[place].topic == whole]
        for at, events in marked(count):
            time, output = records[at].timestamp, outputs[places[at]]
            if time > 0:  # a record may have none
                outputs[places[at]] = output._replace(headers=[*output.headers, EventTime(time, events).header()])

    def tick(self, now_ms: int) -> list[Output]:
        self._look()
        return []

    def _look(self) -> None:
        """Switch, between two batches, to the newest available version."""
        newest = self._versions.newest()
        if newest is not self._serving and newest is not None:
            self._serving = newest
            self._write_metadata()

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        return {partition: CommittedOffset(offset, self._metadata[partition]) for partition, offset in read.items()}

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        offsets = {partition.partition: place.offset for partition, place in places.items()}
        self._memory.remember(self._features, self._topic_id, offsets)

    def paused(self) -> frozenset[Partition]:
        return frozenset() if self._serving is not None else frozenset(self._notes)

    def stopping(self) -> list[Output]:
        return []

    def close(self) -> None:
        """Save the topic and offsets read so far."""
        self._memory.write()

    # --- one event ---------------------------------------------------------------------------------

    def _answer_known(
        self, record: Record, known: Known, serving: ServedVersion, writer: OutcomeWriter
    ) -> list[Output]:
        """Answer a request whose shape is known, as `_answer` does."""
        questions = self._questions
        try:
            answer = ask(serving, known.used)
        except Unanswerable as error:
            failure = error.code, str(error)
            return self._outputs(record, replied(questions, record, questions.ask(record), NO_ANSWER, failure), writer)
        body = known.shape.body(record.value or b"", known)
        if body is None:
            asked = questions.ask(record)._replace(used=known.used)
            return self._outputs(record, replied(questions, record, asked, answer, None), writer)
        return self._answers.outputs(record, known.key, writer.prediction(body, answer, record.offset))

    def _answer(self, record: Record, asked: Question, serving: ServedVersion, writer: OutcomeWriter) -> list[Output]:
        return self._outputs(record, answered(self._questions, serving, record, asked), writer)

    def _outputs(self, record: Record, said: Answered, writer: OutcomeWriter) -> list[Output]:
        value = said.encode(writer, record.offset)
        outputs = self._answers.outputs(record, said.event.event_id.encode(), value)
        if said.failure is not None:
            private = self._questions.has_private
            outputs.append(dead_letter(self._dead_letters, record, PREDICTOR, *said.failure, self._now, private))
        return outputs


class Answered(NamedTuple):
    """One event with its answer: `body` holds the encoded fields of the event, with the features as used."""

    event: Event
    body: bytes
    answer: Answer
    failure: Failure | None

    def encode(self, writer: OutcomeWriter, offset: int) -> bytes:
        """Return the whole Prediction of the event at `offset` of its source."""
        return writer.prediction(self.body, self.answer, offset, self.failure)


def answered(questions: Questions, serving: ServedVersion, record: Record, asked: Question) -> Answered:
    """Return the answer to an event; every event gets one, whatever its content and whatever the model does."""
    answer, failure = NO_ANSWER, asked.failure
    if asked.event is not None and asked.used is not None:
        try:
            answer = ask(serving, asked.used)
        except Unanswerable as error:
            failure = error.code, str(error)
    return replied(questions, record, asked, answer, failure)


def replied(questions: Questions, record: Record, asked: Question, answer: Answer, failure: Failure | None) -> Answered:
    """Return the event with a version's answer, or with its failure to answer."""
    event, used, _ = asked
    body: bytes | None = None
    if failure is not None:
        failure = failure[0], questions.hidden(failure[1], used)
    if event is not None and used is not None and failure is None:
        try:
            body = questions.body(record, event, used)
        except Unanswerable as error:
            failure = error.code, str(error)
        except CodecError as error:
            failure = "codec", str(error)
    if event is None:
        event = questions.unnamed(record)
        body = event.encode()[HEADER_BYTES:]
    elif body is None:
        body = questions.failed_body(record, event)
    return Answered(event, body, answer, failure)


def ask(serving: ServedVersion, features: Features) -> Answer:
    """Return a version's answer. Raises Unanswerable if it refuses, unless it has not learned anything yet."""
    try:
        return serving.model.predict(features)
    except RoleFailure:
        raise  # the version's separate process is gone, so the event has no answer yet
    except Exception as error:
        if serving.examples == 0:
            # Some untrained models raise or answer NaN: that means no prediction yet. With an error as its answer the
            # event would never be joined, so the model would never learn.
            return NO_ANSWER
        raise Unanswerable("model", f"the model refused the event: {type(error).__name__}: {error}") from error
