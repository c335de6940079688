"""Fast decoding of examples: reads only the fields that a learner needs, in half the time.

An example has an event, an outcome, a label, a lane and offsets. A learner needs a third of these fields. The texts
among the others (model, topic, lane) are the same in every example of a stream. So the first example, decoded by the
Avro library, gives a pattern in which only numbers vary. If the pattern matches the next example, one match skips the
fields between the needed ones. If not, the Avro library decodes the example, and the pattern is extended by the new
texts.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec

from schemas import codec
from schemas.codec import HEADER_BYTES
from schemas.events import Event, Example, Features, LabelValue, Lane, Outcome, read_example, read_prediction
from schemas.fast_features import KnownMaps, Shapes

_EXAMPLE_HEADER: Final = codec.EXAMPLE.header
_PREDICTION_HEADER: Final = codec.PREDICTION.header
_DOUBLE: Final = Struct("<d")
_NUMBER: Final = rb"[\x80-\xff]{0,8}[\x00-\x7f]"  # a varint of 63 bits at most
_PREDICTION: Final = rb"(\x02\x02[\x00\x01]|\x02\x06.{8}|\x02\x00)"
_NULL_BYTES: Final = 2
_BOOLEAN: Final = 2
_ONE_BYTE: Final = 0x7F  # the largest varint of one byte
_ONE: Final = _DOUBLE.pack(1.0)
_MOST_TEXTS: Final = 64
_MOST_COMPILATIONS: Final = 500


class FastExample(msgspec.Struct, frozen=True, gc=False):
    """The fields of an example that a learner needs.

    Attributes
    ----------
    answered, prediction, probabilities
        True if an answer was served for it, and that answer.
    label, weight, correction
        `None` without a label.
    times
        Broker times (ms) of prediction and label, `None` if it was imported.
    """

    event_id: str
    features: Features
    answered: bool
    prediction: LabelValue | None
    probabilities: dict[str, float] | None
    label: LabelValue | None
    weight: float
    correction: bool
    lane: Lane
    times: tuple[int, int] | None


def entry_of(example: Example) -> FastExample:
    """Return the fields of a decoded example that a learner needs."""
    outcome, label, joined = example.outcome, example.label, example.joined
    return FastExample(
        example.event.event_id,
        example.event.features,
        outcome is not None,
        None if outcome is None else outcome.prediction,
        None if outcome is None else outcome.probabilities,
        None if label is None else label.value,
        1.0 if label is None else label.weight,
        label is not None and label.kind == "correction",
        example.lane,
        None if joined is None else (joined.prediction_time, joined.label_time),
    )


class _Head(NamedTuple):
    """Pattern of an event after its id and of its outcome, and the maps in it.

    The groups are features, prediction and probabilities; the last one is `None` without probabilities.
    """

    pattern: re.Pattern[bytes]
    features: KnownMaps
    shares: KnownMaps


class _Patterns:
    """Patterns of one stream's predictions, in which only numbers vary."""

    def __init__(self) -> None:
        self._features = Shapes()
        self._shares = Shapes(marker=b"")
        self._outcomes: dict[bytes, None] = {}
        self._compilations = 0

    def note(self, event: Event, outcome: Outcome, before: _Head | None, tail: bytes) -> _Head | None:
        """Return the pattern of the bytes after an event's id, up to `tail`."""
        self._features.note(event.features)
        if len(self._outcomes) >= _MOST_TEXTS:
            return before
        self._shares.note(outcome.probabilities or {})
        features, shares = self._features.known(), self._shares.known()
        texts = re.escape(codec.string(outcome.model)) + _NUMBER * 3 + re.escape(codec.string(outcome.source_topic))
        self._outcomes[texts] = None
        # The event's time, no entity key; then two numbers, no error, role and status.
        head = _NUMBER + rb"\x00(" + features.pattern + rb")"
        shared = rb"(?:\x00|\x02(" + shares.pattern + rb"))"
        outcomes = rb"(?:" + rb"|".join(self._outcomes) + rb")"
        numbers = _NUMBER * 2 + rb"\x00[\x00\x02][\x00\x02]"
        pattern = head + _PREDICTION + shared + outcomes + numbers + tail
        compiled = self.compiled(pattern, None if before is None else before.pattern)
        if before is not None and compiled is before.pattern:
            return before
        return None if compiled is None else _Head(compiled, features, shares)

    def compiled(self, pattern: bytes, before: re.Pattern[bytes] | None) -> re.Pattern[bytes] | None:
        """Compile a new pattern, up to a limit: a millisecond each would not pay off if all examples differ."""
        if self._compilations == _MOST_COMPILATIONS or (before is not None and before.pattern == pattern):
            return before
        self._compilations += 1
        return re.compile(pattern, re.DOTALL)


class PredictionReader:
    """Reads the features of a stream's predictions; each process has one object."""

    def __init__(self) -> None:
        self._patterns = _Patterns()
        self._rest: _Head | None = None

    def features(self, data: bytes) -> Features:
        """Return the features used by an encoded Prediction. Raises CodecError if it cannot be read."""
        found = self._read_quickly(data) if data.startswith(_PREDICTION_HEADER) else None
        if found is not None:
            return found
        prediction = read_prediction(data)
        self._rest = self._patterns.note(prediction.event, prediction.outcome, self._rest, rb"\Z")
        return prediction.event.features

    def _read_quickly(self, data: bytes) -> Features | None:
        at = _after_id(data)
        if at is None or self._rest is None:
            return None
        rest = self._rest.pattern.match(data, at)
        if rest is None or not _is_utf8(data[HEADER_BYTES + 1 : at]):
            return None
        features: Any = self._rest.features.read(rest[1])
        return features  # type: ignore[no-any-return]


class EntryReader:
    """Reads the examples of one stream's log; each process has one object."""

    def __init__(self) -> None:
        self._patterns = _Patterns()
        self._lanes: dict[bytes, tuple[str, str]] = {}
        self._first: _Head | None = None
        self._rest: re.Pattern[bytes] | None = None

    def read(self, data: bytes) -> FastExample:
        """Read an encoded Example. Raises CodecError if it is not one."""
        entry = self._read_quickly(data) if data.startswith(_EXAMPLE_HEADER) else None
        if entry is not None:
            return entry
        example = read_example(data)
        self._note(example)
        return entry_of(example)

    def _note(self, example: Example) -> None:
        """Extend the patterns so that the next example like this one is read quickly."""
        outcome, lane = example.outcome, example.lane
        if outcome is not None:
            self._first = self._patterns.note(example.event, outcome, self._first, rb"\x02")  # and a label
        if len(self._lanes) < _MOST_TEXTS:
            self._lanes[codec.string(lane.name) + codec.string(lane.epoch)] = (lane.name, lane.epoch)
            lanes = rb"|".join(re.escape(text) for text in self._lanes)
            # Value, weight, time, source and kind; the lane; partition, offsets and times.
            value = rb"(\x00[\x00\x01]|\x02" + _NUMBER + rb"|\x04.{8})"
            label = value + rb"(.{8})" + _NUMBER + rb"[\x00\x02\x04\x06]([\x00\x02])"
            joined = rb"\x02" + _NUMBER * 2 + rb"(" + _NUMBER + rb")" + _NUMBER + rb"(" + _NUMBER + rb")"
            rest = label + rb"(" + lanes + rb")(" + _NUMBER + rb")" + joined + rb"\Z"
            self._rest = self._patterns.compiled(rest, self._rest)

    def _read_quickly(self, data: bytes) -> FastExample | None:
        at, head = _after_id(data), self._first
        if at is None or head is None or self._rest is None:
            return None
        own_id = data[HEADER_BYTES:at]
        first = head.pattern.match(data, at)
        if first is None or not data.startswith(own_id, end := first.end()):
            return None
        rest = self._rest.match(data, end + len(own_id))
        if rest is None:
            return None
        mapped, said, shared = first.groups()
        features: Any = head.features.read(mapped)
        shares = None if shared is None else head.shares.read(shared)
        if features is None or (shares is None and shared is not None):
            return None
        value, weight, kind, lane, sequence, predicted, labelled = rest.groups()
        name, epoch = self._lanes[lane]
        try:
            event_id = own_id[1:].decode()
        except UnicodeDecodeError:
            return None
        return FastExample(
            event_id,
            features,
            True,
            _prediction(said),
            shares,
            _value(value),
            1.0 if weight == _ONE else _DOUBLE.unpack(weight)[0],
            kind != b"\x00",
            Lane(name, epoch, _long(sequence)),
            (_long(predicted), _long(labelled)),
        )


def _after_id(data: bytes) -> int | None:
    """Return the end of an event's id; `None` if it is long or invalid."""
    length = data[HEADER_BYTES] if len(data) > HEADER_BYTES else _ONE_BYTE + 1
    # An odd number is a negative length, which the Avro library refuses too.
    return None if length > _ONE_BYTE or length & 1 else HEADER_BYTES + 1 + (length >> 1)


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _prediction(encoded: bytes) -> LabelValue | None:
    """Decode the union of an outcome's prediction: null, a boolean or a double."""
    if len(encoded) == _NULL_BYTES:
        return None
    value: float = encoded[2] == 1 if encoded[1] == _BOOLEAN else _DOUBLE.unpack_from(encoded, 2)[0]
    return value


def _long(varint: bytes) -> int:
    number = shift = 0
    for byte in varint:
        number |= (byte & 0x7F) << shift
        shift += 7
    return (number >> 1) ^ -(number & 1)


def _value(encoded: bytes) -> LabelValue:
    if encoded[0] == 0:
        return encoded[1] == 1
    value: float = _DOUBLE.unpack_from(encoded, 1)[0] if encoded[0] == 4 else _long(encoded[1:])
    return value
