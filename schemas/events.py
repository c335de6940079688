"""Events, predictions, labels and examples as typed values, with their decoding and encoding."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from schemas import codec
from schemas.codec import HEADER_BYTES, CodecError
from schemas.exact_integers import may_be_rounded, rounded
from schemas.fast_features import Shapes, skip_to_features
from schemas.fast_writing import event_body, label_body
from schemas.json_text import NO_JSON, json_text, why_no_json
from schemas.model_names import version_text

FeatureValue: TypeAlias = bool | int | float | str | bytes | list[float] | None
Features: TypeAlias = dict[str, FeatureValue]
LabelValue: TypeAlias = bool | int | float | str | dict[str, float | str]
Scalar: TypeAlias = bool | int | float | str
_LONG = 2**63  # Avro's long holds whole numbers from -_LONG to _LONG - 1


class Event(msgspec.Struct, frozen=True, gc=False):
    """Features of one thing to predict, from the sender. `event_time` is in ms since 1970, UTC."""

    event_id: str
    event_time: int
    features: Features
    entity_key: str | None = None

    def encode(self) -> bytes:
        """Return header and body. Raises CodecError if a value does not fit the schema."""
        return codec.EVENT.header + self.encode_body()

    def encode_body(self) -> bytes:
        """Return the body alone. Raises CodecError if a value does not fit the schema."""
        if self.entity_key is None:
            body = event_body(self.event_id, self.event_time, self.features)
            if body is not None:
                return body
        for name, value in self.features.items():
            if value.__class__ is int and not -_LONG <= value < _LONG:
                # The union also has a double, to which the Avro library would round.
                raise CodecError(f"feature {name!r} is a whole number beyond 64 bits: keep it as text")
        return _event_body(self)


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Reason for a missing prediction: a code for counting, a sentence for reading."""

    code: str
    message: str


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The answer to one event. `epoch` and `examples` are -1 if no model answered."""

    prediction: LabelValue | None
    probabilities: dict[str, float] | None
    model: str
    epoch: int
    examples: int
    predicted_at: int
    source_topic: str
    source_partition: int
    source_offset: int
    error: Failure | None = None
    role: Literal["serving", "shadow"] = "serving"
    status: Literal["ok", "error"] = "ok"

    @property
    def version(self) -> str:
        """Return the version as on the command line: ``epoch/examples``, after the name of a named model."""
        return version_text(self.model, self.epoch, self.examples)


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """An event with the features as the model used them, and its outcome."""

    event: Event
    outcome: Outcome


class Label(msgspec.Struct, frozen=True, gc=False):
    """The truth about an event. `label_time` is in ms since 1970, UTC."""

    event_id: str
    value: LabelValue
    label_time: int
    weight: float = 1.0
    source: Literal["system", "human", "import", "timeout"] = "system"
    kind: Literal["label", "correction"] = "label"

    def encode(self) -> bytes:
        """Return header and body. Raises CodecError if a value does not fit the schema."""
        if self.value.__class__ is int and not -_LONG <= self.value < _LONG:
            raise CodecError("the label is a whole number beyond 64 bits: keep it as text")
        return codec.LABEL.header + _label_body(self)


class Lane(msgspec.Struct, frozen=True, gc=False):
    """Lane and sequence number of an example: sequences run from 0 without gaps within name and epoch."""

    name: str
    epoch: str
    sequence: int


class Joined(msgspec.Struct, frozen=True, gc=False):
    """Offsets and broker times of an example's prediction and label; -1 if there was no label record."""

    partition: int
    prediction_offset: int
    prediction_time: int
    label_offset: int
    label_time: int


class Example(msgspec.Struct, frozen=True, gc=False):
    """One entry of the training log."""

    event: Event
    outcome: Outcome | None
    label: Label | None
    lane: Lane
    joined: Joined | None

    def encode(self) -> bytes:
        outcome, label, joined = self.outcome, self.label, self.joined
        return b"".join(
            (
                codec.EXAMPLE.header,
                _event_body(self.event),
                b"\x00" if outcome is None else b"\x02" + codec.OUTCOME.encode_body(msgspec.to_builtins(outcome)),
                b"\x00" if label is None else b"\x02" + _label_body(label),
                codec.string(self.lane.name),
                codec.string(self.lane.epoch),
                codec.long(self.lane.sequence),
                b"\x00" if joined is None else b"\x02" + b"".join(map(codec.long, msgspec.structs.astuple(joined))),
            )
        )


def _event_body(event: Event) -> bytes:
    body = event_body(event.event_id, event.event_time, event.features) if event.entity_key is None else None
    return codec.EVENT.encode_body(msgspec.structs.asdict(event)) if body is None else body


def _label_body(label: Label) -> bytes:
    body = label_body(label.event_id, label.value, label.label_time, label.weight, (label.source, label.kind))
    return codec.LABEL.encode_body(msgspec.structs.asdict(label)) if body is None else body


# --- reading ---------------------------------------------------------------------------------------


# The range of Avro's long: a larger number could be read here but not be written again.
_Long = Annotated[int, msgspec.Meta(ge=-_LONG, le=_LONG - 1)]


JsonFeatures: TypeAlias = dict[str, bool | _Long | float | str | list[float] | None]
"""Features as JSON holds them, as a type for msgspec; `features_of` makes them those of an Event."""


class _JsonEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    event_id: str
    features: JsonFeatures
    event_time: _Long = 0
    entity_key: str | None = None


class _JsonLabel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    event_id: str
    value: bool | _Long | float | str | dict[str, float | str]
    label_time: _Long = 0
    weight: float = 1.0
    source: Literal["system", "human", "import", "timeout"] = "system"
    kind: Literal["label", "correction"] = "label"


_json_event = msgspec.json.Decoder(_JsonEvent)
_json_label = msgspec.json.Decoder(_JsonLabel)
_BEFORE_JSON = (b" ", b"\t", b"\r", b"\n", b"\xef")
_JSON_BEGINS = (b"{", b"[", b'"')
_EVENT_HEADER = codec.EVENT.header
_LABEL_HEADER = codec.LABEL.header
_EXAMPLE_HEADER = codec.EXAMPLE.header
_event_shapes = Shapes()
_example_shapes = Shapes()
_decode_event = codec.EVENT.decode_body
_decode_label = codec.LABEL.decode_body


def read_event(data: bytes, default_time: int = 0) -> Event:
    """Read an Event in Avro or JSON; `default_time` (ms) is used if the JSON has no time.

    >>> read_event(b'{"event_id": "a", "features": {"x": 1.5}}').features
    {'x': 1.5}

    Raises
    ------
    CodecError
        If the bytes are neither; the message describes them.
    """
    if data.startswith(_EVENT_HEADER):
        quick = _read_quickly(data, _event_shapes)
        if quick is not None and quick[1] == len(data):
            return quick[0]
        event = Event(**_decode_event(data, HEADER_BYTES))
        _event_shapes.note(event.features)
        return event
    text = json_text(data) if data.startswith(_BEFORE_JSON) else data
    if text.startswith(_JSON_BEGINS):
        try:
            found = _json_event.decode(text)
        except NO_JSON as error:
            raise CodecError(not_json("an event", error, text)) from error
        features = features_of(found.features, text)
        return Event(found.event_id, found.event_time or default_time, features, found.entity_key)
    return Event(**codec.EVENT.decode(data))


def features_of(found: JsonFeatures, text: bytes) -> Features:
    """Return the features of an event in JSON. Raises CodecError if a number of a vector in `text` was rounded."""
    features: Features = found  # type: ignore[assignment]
    if list in map(type, features.values()) and any(
        value.__class__ is list and may_be_rounded(value) for value in features.values()
    ):
        reason = rounded(text)
        if reason:
            raise CodecError(f"not an event in JSON: {reason}")
    return features


def not_json(kind: str, error: Exception, text: bytes) -> str:
    """Return the message for a text that was refused as an event or a label in JSON."""
    return f"not {kind} in JSON: {rounded(text) or why_no_json(error, text)}"


def read_label(data: bytes, default_time: int = 0) -> Label:
    """Read a Label in Avro or JSON; `default_time` (ms) is used if the JSON has no time.

    Raises
    ------
    CodecError
        If the bytes are neither; the message describes them.
    """
    if data.startswith(_LABEL_HEADER):
        return _weighed(Label(**_decode_label(data, HEADER_BYTES)))
    text = json_text(data) if data.startswith(_BEFORE_JSON) else data
    if text.startswith(_JSON_BEGINS):
        try:
            found = _json_label.decode(text)
        except NO_JSON as error:
            raise CodecError(not_json("a label", error, text)) from error
        time = found.label_time or default_time
        return _weighed(Label(found.event_id, found.value, time, found.weight, found.source, found.kind))
    return Label(**codec.LABEL.decode(data))


def _weighed(label: Label) -> Label:
    """Raise CodecError unless the weight is valid: NaN would silently ruin a model."""
    if not 0.0 <= label.weight < math.inf:
        raise CodecError(f"a label's weight is {label.weight}; it must be finite and not negative")
    return label


def _outcome(fields: dict[str, Any]) -> Outcome:
    error = fields["error"]
    if error is not None:
        fields["error"] = Failure(**error)
    return Outcome(**fields)


def read_prediction(data: bytes) -> Prediction:
    """Read a Prediction. Raises CodecError if it is not one."""
    fields = codec.PREDICTION.decode(data)
    if fields["outcome"] is None:
        raise CodecError("damaged Prediction: it has no outcome")
    return Prediction(Event(**fields["event"]), _outcome(fields["outcome"]))


def read_example(data: bytes) -> Example:
    """Read an Example. Raises CodecError if it is not one."""
    quick = _read_quickly(data, _example_shapes) if data.startswith(_EXAMPLE_HEADER) else None
    if quick is not None:
        event, at = quick
        fields = codec.EXAMPLE_REST.decode_body(data, at)
    else:
        fields = codec.EXAMPLE.decode(data)
        event = Event(**fields["event"])
        _example_shapes.note(event.features)
    outcome, label, joined = fields["outcome"], fields["label"], fields["joined"]
    return Example(
        event,
        None if outcome is None else _outcome(outcome),
        None if label is None else Label(**label),
        Lane(**fields["lane"]),
        None if joined is None else Joined(**joined),
    )


def _read_quickly(data: bytes, shapes: Shapes) -> tuple[Event, int] | None:
    """Read the Event at the beginning of an encoded record, and its end; `None` if its shape is unknown."""
    head = skip_to_features(data, HEADER_BYTES)
    if head is None:
        return None
    event_id, event_time, at = head
    found = shapes.read(data, at)
    if found is None:
        return None
    features: Any = found[0]
    return Event(event_id, event_time, features), found[1]


# --- peeking ---------------------------------------------------------------------------------------


def peek_event_id(data: bytes) -> str:
    """Return the event id of an encoded Event, Prediction, Example or Label without decoding the rest.

    The id is the first field of each: a zigzag varint length, then UTF-8.

    Raises
    ------
    CodecError
        If the bytes end before the id, or the id is not UTF-8.
    """
    length = shift = 0
    position = HEADER_BYTES
    try:
        while True:
            byte = data[position]
            position += 1
            length |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if length & 1:
            raise CodecError("damaged event: its event id has a negative length")
        length >>= 1
        if position + length > len(data):
            raise CodecError("damaged event: it ends within its event id")
        return data[position : position + length].decode()
    except (IndexError, UnicodeDecodeError) as error:
        raise CodecError("damaged event: its event id cannot be read") from error


_ONE_BYTE = 0x7F  # the largest varint of one byte


def event_id_bytes(data: bytes) -> bytes:
    """Return the event id as UTF-8; otherwise like `peek_event_id`."""
    length = data[HEADER_BYTES] if len(data) > HEADER_BYTES else _ONE_BYTE + 1
    if length <= _ONE_BYTE and not length & 1:
        event_id = data[HEADER_BYTES + 1 : HEADER_BYTES + 1 + (length >> 1)]
        if event_id.isascii() and len(event_id) == length >> 1:
            return event_id
    return peek_event_id(data).encode()


_OK = 0  # index of "ok" in Status and of "serving" in Role; an enum of one byte each
_STATUSES = (0, 2)  # ok and error: the first two places of an enum, as a varint


def is_served(prediction: bytes) -> bool:
    """Return whether an encoded Prediction or Shadow is a served answer, also one with an error, by its last bytes."""
    return prediction[-2] == _OK and prediction[-1] in _STATUSES


def is_joinable(prediction: bytes) -> bool:
    """Return whether an encoded Prediction is a served answer without error, by its last two bytes."""
    return prediction[-1] == _OK and prediction[-2] == _OK
