"""Answerer: makes the spool's records, and the caller's answer, of events and labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

from consumers.loop.dead_letters import dead_letter
from consumers.model.river_model import NO_ANSWER, Answer, wire_value
from consumers.predictor.fast_outcomes import OutcomeWriter
from consumers.predictor.feature_requests import LONGEST_ID, Question, Questions, Unanswerable
from consumers.predictor.prediction_records import Form, PredictionRecords
from consumers.predictor.predictor import Answered, ServedVersion, answered, ask, replied
from consumers.roles import SERVER, WHOLE
from runtime.kafka_client import size_limits
from runtime.kafka_client.partitioner import hashed
from runtime.kafka_client.records import Output, Partition, PlainRecord
from schemas.codec import CodecError
from schemas.contract import Contract
from schemas.events import Event, Features, Label, read_label
from schemas.fast_writing import event_body
from schemas.model_names import version_text
from schemas.preparing import Prepare
from schemas.sources.event_mapping import EventMapping
from schemas.target import Target, TargetError
from schemas.topics import METRICS, Names
from server.answering.made_ids import key_of
from server.answering.plain_events import PlainEvents, SaidWriter
from server.answering.requests import read_value
from server.spool.entries import SpooledRecord
from server.spool.spool import Made, Pending

_encoder: Final = msgspec.json.Encoder()
_in_order: Final = msgspec.json.Encoder(order="deterministic")
_FAR_FUTURE_MS: Final = 24 * 3600 * 1000


class LabelRefused(ValueError):  # noqa: N818
    """The label cannot be one of this stream; `code` is for counting and for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer to one event, as the caller gets it."""

    event_id: str
    prediction: Any
    probabilities: dict[str, float] | None
    model: str
    version: str
    predicted_at: int


class Error(msgspec.Struct, frozen=True):
    """What went wrong: a code for programs, a sentence for people."""

    code: str
    message: str


class Refused(msgspec.Struct, frozen=True):
    """The error answer to one event or label."""

    event_id: str
    error: Error


class Taken(msgspec.Struct, frozen=True):
    """The answer to one label."""

    event_id: str
    taken: bool = True


class MetricTaken(msgspec.Struct, frozen=True):
    """The answer to one value of a metric."""

    metric: str
    taken: bool = True


class Message(NamedTuple):
    """A raw message of the stream's external topic: the event that it gives, its check, and its bytes."""

    event: Event
    asked: Question
    value: bytes


class _Turn(NamedTuple):
    """What the answers of one version within one millisecond have in common."""

    serving: ServedVersion
    now: int
    writer: OutcomeWriter
    unread: PlainRecord
    version: str
    said: SaidWriter


class _PlainAnswer:
    """Makes the entry of a plain event that has its answer."""

    __slots__ = ("_answer", "_body", "_event_id", "_key", "_partition", "_turn")

    def __init__(self, event_id: str, body: bytes, answer: Answer, turn: _Turn, spread: int) -> None:
        self._event_id, self._body, self._answer, self._turn = event_id, body, answer, turn
        self._key = key = event_id.encode()
        self._partition = hashed(key, spread)

    def __call__(self, sequence: int) -> Made:
        answer, turn = self._answer, self._turn
        value = turn.writer.prediction(self._body, answer, sequence)
        said = turn.said.write(self._event_id, answer)
        if said is None:
            said = _said(self._event_id, answer, turn)
        return Made((SpooledRecord(WHOLE, self._partition, self._key, value),), said)


@dataclass(frozen=True)
class AnswererSettings:
    """Settings of an answerer.

    Attributes
    ----------
    spread
        Number of partitions that event ids are spread over, as of a predictor.
    form
        Format of the public predictions.
    source, lane
        Topic and partition that answers name as those of their event, see `server.spool.folder.SOURCE`.
    mapping
        Maps raw messages of the stream's external topic; `None` for a stream without one.
    has_ids
        True if the mapping finds an id in each message.
    prepare
        As of a predictor.
    """

    names: Names
    contract: Contract
    target: Target
    spread: int
    form: Form
    source: str
    lane: int
    mapping: EventMapping | None = None
    has_ids: bool = False
    prepare: Prepare | None = None


class Answerer:
    """Answers events and takes labels of one stream.

    Parameters
    ----------
    clock
        Wall clock, ms.
    """

    def __init__(self, settings: AnswererSettings, clock: Callable[[], int] | None = None) -> None:
        self._settings = settings
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._questions = Questions(settings.contract, None, self._clock, settings.prepare)
        self._messages = Questions(settings.contract, settings.mapping, self._clock, settings.prepare)
        self._records = PredictionRecords(settings.names, settings.spread, settings.form)
        self._dead_letters = settings.names.topic("dead-letters")
        self._source = Partition(settings.source, settings.lane)
        takes_plain = self._records.are_plain and settings.prepare is None
        self._plain = PlainEvents(settings.contract) if takes_plain else None
        self._turn: _Turn | None = None
        self._kinds = {settings.names.topic(kind): kind for kind in settings.names.kinds}
        self._kinds[settings.names.whole] = WHOLE

    @property
    def takes_messages(self) -> bool:
        """Return whether the stream has an external topic, whose raw messages can be answered too."""
        return self._settings.mapping is not None

    def read_message(self, value: bytes, unnamed: str, now: int) -> Message:
        """Read a raw message of the external topic; `unnamed` is its id if the source finds none, `now` its time.

        Raises
        ------
        CodecError
            If it cannot be decoded.
        Doubt, RoleRefused
            If the schema registry does not answer, or refuses.
        """
        named = () if self._settings.has_ids else (("ce_id", unnamed.encode()),)
        asked = self._messages.ask(PlainRecord(*self._source, -1, now, None, value, named))
        if asked.failure is not None and asked.failure[0] == "codec":
            raise CodecError(asked.failure[1])
        return Message(asked.event or Event(unnamed, now, {}), asked, value)

    def answer(self, events: Sequence[Event | Message], serving: ServedVersion) -> list[Pending]:
        """Ask the version, and return what is to be logged and answered, in the events' order."""
        now = self._clock()
        asked = [self._read(each, now) for each in events]
        used = [each.used if isinstance(each, Question) else each for each in asked]
        serving.model.ahead([each for each in used if each is not None])
        turn = self._turn
        if turn is None or turn.serving is not serving or turn.now != now:
            writer = OutcomeWriter((serving.name, serving.epoch, serving.examples), now, self._source)
            unread = PlainRecord(*self._source, -1, now, None, None)
            version = version_text(serving.name, serving.epoch, serving.examples)
            self._turn = turn = _Turn(serving, now, writer, unread, version, SaidWriter(serving.name, version, now))
        return [self._one(given, each, turn) for given, each in zip(events, asked, strict=True)]

    def _read(self, given: Event | Message, now: int) -> Features | Question:
        """Return what to ask the model: the features of a plain event, or another one's check."""
        if isinstance(given, Message):
            return given.asked
        used = None if self._plain is None else self._plain.used(given, now)
        return self._questions.check(given) if used is None else used

    def _plain_one(self, event: Event, used: Features, turn: _Turn) -> Pending:
        try:
            answer = ask(turn.serving, used)
        except Unanswerable as error:
            failure = error.code, str(error)
            said = replied(self._questions, turn.unread, Question(event, used, None), NO_ANSWER, failure)
            return self._pending(said, turn, None)
        body = event_body(event.event_id, event.event_time, used)
        if body is None or len(body) > size_limits.EVENT:  # the model has changed the features, perhaps
            question = Question(event, used, None)
            return self._pending(replied(self._questions, turn.unread, question, answer, None), turn, None)
        digest = _hash(_in_order.encode((event.features, event.entity_key)))
        made = _PlainAnswer(event.event_id, body, answer, turn, self._settings.spread)
        return Pending(made, key_of(event.event_id), digest, may_be_unlogged=True)

    def _one(self, given: Event | Message, asked: Features | Question, turn: _Turn) -> Pending:
        event, value = (given.event, given.value) if isinstance(given, Message) else (given, None)
        if not isinstance(asked, Question):
            return self._plain_one(event, asked, turn)
        if asked.event is not event:
            asked = asked._replace(event=event)
        return self._pending(answered(self._questions, turn.serving, turn.unread, asked), turn, value)

    def _pending(self, said: Answered, turn: _Turn, value: bytes | None) -> Pending:
        """Return what is to be logged of an answer; `value` is the raw message that was answered, if it was one."""
        event = said.event
        digest = _hash(_in_order.encode((event.features, event.entity_key)) if value is None else value)
        make = lambda sequence: self._made(said, sequence, turn, value)  # noqa: E731 - one for each event
        return Pending(make, key_of(event.event_id), digest, may_be_unlogged=True)

    def _made(self, said: Answered, sequence: int, turn: _Turn, message: bytes | None) -> Made:
        event, failure = said.event, said.failure
        unread, now = turn.unread, turn.now
        key = event.event_id.encode()
        encoded = said.encode(turn.writer, sequence)
        if failure is None and self._records.are_plain:  # most: one record without headers
            records = (SpooledRecord(WHOLE, hashed(key, self._settings.spread), key, encoded),)
            return Made(records, _said(event.event_id, said.answer, turn))
        outputs = self._records.outputs(unread, key, encoded)
        if failure is not None:
            value = _encoder.encode(event) if message is None else message
            sent = unread._replace(offset=sequence, key=key, value=value)
            private = self._questions.has_private
            outputs.append(dead_letter(self._dead_letters, sent, SERVER, *failure, now, private))
            answer = _encoder.encode(Refused(event.event_id, Error(*failure)))
        else:
            answer = _said(event.event_id, said.answer, turn)
        return Made(tuple([self._spooled(each) for each in outputs]), answer, failure is None)

    def _spooled(self, output: Output) -> SpooledRecord:
        kind = self._kinds[output.topic]
        return SpooledRecord(kind, output.partition, output.key, output.value, tuple(output.headers))

    # --- labels ------------------------------------------------------------------------------------

    def label(self, text: bytes, idempotency_key: str | None = None) -> Pending:
        """Return what is to be logged of a label in JSON: the label, or a dead letter if it is none of this stream.

        Raises
        ------
        CodecError
            If it is not a label in JSON.
        """
        now = self._clock()
        label = read_label(text, default_time=now)
        if label.source == "timeout":
            raise CodecError("a label with the source `timeout` is made by the joiner alone")
        value = label.encode()
        try:
            self._check(label, len(value))
        except LabelRefused as error:
            failure = error.code, str(error)
            return Pending(lambda sequence: self._refused(label.event_id, text, sequence, failure, now))
        key = label.event_id.encode()
        spooled = SpooledRecord("labels", hashed(key, self._settings.spread), key, value)
        answer = _encoder.encode(Taken(label.event_id))
        if idempotency_key is None:
            return Pending(lambda sequence: Made((spooled,), answer))
        digest = _hash(_in_order.encode((label.event_id, label.value, label.kind, label.weight)))
        return Pending(lambda sequence: Made((spooled,), answer), _hash(b"label " + idempotency_key.encode()), digest)

    # --- metrics -----------------------------------------------------------------------------------

    @property
    def takes_metrics(self) -> bool:
        """Return whether the stream asks for downstream metrics over HTTP."""
        return self._settings.names.takes_metrics

    def metric(self, name: str, text: bytes, idempotency_key: str | None = None) -> Pending:
        """Return what is to be logged of a value of a metric in JSON. Raises CodecError if it is none."""
        found = read_value(text, name, self._clock())
        spooled = SpooledRecord(METRICS, 0, name.encode(), found.encode())
        answer = _encoder.encode(MetricTaken(name))
        made = Made((spooled,), answer)
        if idempotency_key is None:
            return Pending(lambda sequence: made)
        digest = _hash(_in_order.encode((name, found.value)))
        return Pending(lambda sequence: made, _hash(b"metric " + idempotency_key.encode()), digest)

    def _refused(self, event_id: str, text: bytes, sequence: int, failure: tuple[str, str], now: int) -> Made:
        """Return the dead letter of a label that was refused, and the answer."""
        record = PlainRecord(*self._source, sequence, now, event_id.encode(), text)
        letter = dead_letter(self._dead_letters, record, SERVER, *failure, now)
        return Made((self._spooled(letter),), _encoder.encode(Refused(event_id, Error(*failure))), final=False)

    def _check(self, label: Label, size: int) -> None:
        """Raise LabelRefused if a label of this size cannot be one of this stream."""
        if not 0 < len(label.event_id) <= LONGEST_ID:
            length = len(label.event_id)
            raise LabelRefused("id", f"the event id has {length} characters; 1 to {LONGEST_ID} are taken")
        if label.label_time < 0 or label.label_time > self._clock() + _FAR_FUTURE_MS:
            raise LabelRefused("time", f"label_time {label.label_time} is negative, or over a day in the future")
        try:
            self._settings.target.coerce(label.value)
        except TargetError as error:
            raise LabelRefused("label", str(error)) from error
        if size > size_limits.LABEL:
            raise LabelRefused("size", f"the label has {size} bytes; at most {size_limits.LABEL} are taken")


def _said(event_id: str, answer: Answer, turn: _Turn) -> bytes:
    serving = turn.serving
    shares = answer.wire_probabilities()
    return _encoder.encode(Said(event_id, wire_value(answer.value), shares, serving.name, turn.version, turn.now))


def _hash(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()


__all__ = ["Answerer", "AnswererSettings", "CodecError", "LabelRefused"]
