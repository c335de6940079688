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
from schemas.events import (
    Event,
    Example,
    Features,
    LabelValue,
    Lane,
    Outcome,
    Prediction,
    is_joinable,
    read_example,
    read_prediction,
)
from schemas.fast_features import KnownMaps, Shapes

_EXAMPLE_HEADER: Final = codec.EXAMPLE.header
_PREDICTION_HEADER: Final = codec.PREDICTION.header
_DOUBLE: Final = Struct("<d")
_NUMBER: Final = rb"[\x80-\xff]{0,8}[\x00-\x7f]"  # a varint of 63 bits at most
_PREDICTION: Final = rb"(\x02\x02[\x00\x01]|\x02\x06.{8}|\x02\x00)"
# The unions of a prediction and of a label that are not numbers.
_SAID: Final = {b"\x02\x00": None, b"\x02\x02\x00": False, b"\x02\x02\x01": True}
_LABELS: Final = {b"\x00\x00": False, b"\x00\x01": True}
_ONE_BYTE: Final = 0x7F  # the largest varint of one byte
_LONGEST_ID: Final = _ONE_BYTE >> 1
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


class _Compiled(NamedTuple):
    """Pattern of the bytes from an event's time to the end of an outcome, with what surrounds them, and the maps in it.

    The groups of the event and the outcome are features, prediction and probabilities; the last one is `None` without
    probabilities.
    """

    pattern: re.Pattern[bytes]
    features: KnownMaps
    shares: KnownMaps


_NOTHING: Final = _Compiled(re.compile(rb"(?!)"), Shapes().known(), Shapes().known())


class _Patterns:
    """Pattern of one stream's predictions, in which only numbers vary."""

    def __init__(self) -> None:
        self._features = Shapes()
        self._shares = Shapes(marker=b"")
        self._outcomes: dict[bytes, None] = {}
        self._compilations = 0
        self.compiled = _NOTHING

    def note(self, event: Event, outcome: Outcome) -> None:
        """Note the texts of a prediction, for the next pattern."""
        self._features.note(event.features)
        if len(self._outcomes) < _MOST_TEXTS:
            self._shares.note(outcome.probabilities or {})
            texts = re.escape(codec.string(outcome.model)) + _NUMBER * 3 + re.escape(codec.string(outcome.source_topic))
            self._outcomes[texts] = None

    def compile(self, before: bytes, after: bytes) -> None:
        """Compile the pattern anew, up to a limit: a millisecond each would not pay off if all examples differ."""
        features, shares = self._features.known(), self._shares.known()
        # The event's time, no entity key; then two numbers, no error, role and status.
        head = _NUMBER + rb"\x00(" + features.pattern + rb")"
        shared = rb"(?:\x00|\x02(" + shares.pattern + rb"))"
        outcomes = rb"(?:" + rb"|".join(self._outcomes) + rb")"
        numbers = _NUMBER * 2 + rb"\x00[\x00\x02][\x00\x02]"
        pattern = before + head + _PREDICTION + shared + outcomes + numbers + after
        if self._compilations < _MOST_COMPILATIONS and pattern != self.compiled.pattern.pattern:
            self._compilations += 1
            self.compiled = _Compiled(re.compile(pattern, re.DOTALL), features, shares)


class PredictionReader:
    """Reads the features of a stream's predictions; each process has one object."""

    def __init__(self) -> None:
        self._patterns = _Patterns()

    def joinable(self, data: bytes) -> bool:
        """Return whether an encoded Prediction is joined with its label: one with an error is not."""
        return is_joinable(data)

    def features(self, data: bytes) -> Features:
        """Return the features used by an encoded Prediction. Raises CodecError if it cannot be read."""
        found = self._read_quickly(data)
        if found is not None:
            return found
        return self._note(data).event.features

    def check(self, data: bytes) -> None:
        """Raise CodecError if an encoded Prediction cannot be read."""
        if self._match(data) is None:
            self._note(data)

    def _note(self, data: bytes) -> Prediction:
        """Return a decoded Prediction, and extend the pattern so that the next one like it is read quickly."""
        prediction = read_prediction(data)
        self._patterns.note(prediction.event, prediction.outcome)
        self._patterns.compile(b"", rb"\Z")
        return prediction

    def _match(self, data: bytes) -> re.Match[bytes] | None:
        at = _after_id(data) if data.startswith(_PREDICTION_HEADER) else None
        found = None if at is None else self._patterns.compiled.pattern.match(data, at)
        return None if found is None or not codec.is_utf8(data[HEADER_BYTES + 1 : at]) else found

    def _read_quickly(self, data: bytes) -> Features | None:
        found = self._match(data)
        features: Any = None if found is None else self._patterns.compiled.features.read(found[1])
        return features  # type: ignore[no-any-return]


class EntryReader:
    """Reads the examples of one stream's log; each process has one object."""

    def __init__(self) -> None:
        self._patterns = _Patterns()
        self._ids: dict[int, None] = {}  # lengths of event ids
        self._lanes: dict[bytes, tuple[str, str]] = {}

    def read(self, data: bytes) -> FastExample:
        """Read an encoded Example. Raises CodecError if it is not one."""
        pattern, features, shares = self._patterns.compiled
        found = pattern.match(data)
        if found is None:
            return self._read_slowly(data)
        own_id, mapped, said, shared, value, weight, kind, lane, sequence, predicted, labelled = found.groups()
        known: Any = features.read(mapped)
        probabilities = None if shared is None else shares.read(shared)
        if known is None or (probabilities is None and shared is not None):
            return self._read_slowly(data)
        name, epoch = self._lanes[lane]
        try:
            event_id = own_id[1:].decode()
        except UnicodeDecodeError:
            return self._read_slowly(data)
        return FastExample(
            event_id,
            known,
            True,
            _SAID[said] if said in _SAID else _DOUBLE.unpack_from(said, 2)[0],
            probabilities,
            _LABELS[value] if value in _LABELS else _number(value),
            1.0 if weight == _ONE else _DOUBLE.unpack(weight)[0],
            kind != b"\x00",
            Lane(name, epoch, _long(sequence)),
            (_long(predicted), _long(labelled)),
        )

    def _read_slowly(self, data: bytes) -> FastExample:
        example = read_example(data)
        self._note(example)
        return entry_of(example)

    def _note(self, example: Example) -> None:
        """Extend the pattern so that the next example like this one is read quickly."""
        outcome, lane, size = example.outcome, example.lane, len(example.event.event_id.encode())
        if outcome is None or size > _LONGEST_ID:
            return
        self._patterns.note(example.event, outcome)
        if len(self._lanes) < _MOST_TEXTS:
            self._lanes[codec.string(lane.name) + codec.string(lane.epoch)] = (lane.name, lane.epoch)
        if len(self._ids) < _MOST_TEXTS:
            self._ids[size] = None
        ids = rb"|".join(re.escape(codec.long(each)) + b".{%d}" % each for each in self._ids)
        lanes = rb"|".join(map(re.escape, self._lanes))
        # A label with the same id: value, weight, time, source and kind.
        value = rb"(\x00[\x00\x01]|\x02" + _NUMBER + rb"|\x04.{8})"
        label = rb"\x02\1" + value + rb"(.{8})" + _NUMBER + rb"[\x00\x02\x04\x06]([\x00\x02])"
        # The lane; then partition, offsets and times.
        joined = rb"\x02" + _NUMBER * 2 + rb"(" + _NUMBER + rb")" + _NUMBER + rb"(" + _NUMBER + rb")"
        after = label + rb"(" + lanes + rb")(" + _NUMBER + rb")" + joined + rb"\Z"
        self._patterns.compile(re.escape(_EXAMPLE_HEADER) + rb"(" + ids + rb")", after)


def _after_id(data: bytes) -> int | None:
    """Return the end of an event's id; `None` if it is long or invalid."""
    length = data[HEADER_BYTES] if len(data) > HEADER_BYTES else _ONE_BYTE + 1
    # An odd number is a negative length, which the Avro library refuses too.
    return None if length > _ONE_BYTE or length & 1 else HEADER_BYTES + 1 + (length >> 1)


def _long(varint: bytes) -> int:
    number = shift = 0
    for byte in varint:
        number |= (byte & 0x7F) << shift
        shift += 7
    return (number >> 1) ^ -(number & 1)


def _number(encoded: bytes) -> LabelValue:
    """Decode the union of a label's value if it is a whole number or a double."""
    value: float = _DOUBLE.unpack_from(encoded, 1)[0] if encoded[0] == 4 else _long(encoded[1:])
    return value
