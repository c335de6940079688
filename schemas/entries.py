"""What a learner needs of an example, read in half the time that the whole of it takes.

An entry of the log is an event, an outcome, a label, a lane and places. A learner asks for a third of those
fields. The texts among the rest (model, topic, lane) are the same in every entry of a stream, so the
first one, read by the Avro library, makes a pattern in which only numbers vary; where the pattern fits,
what lies between the fields that are wanted is passed over by one match. Where it does not fit, the
Avro library reads the entry, and the pattern learns the texts that were new.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import Any, Final

import msgspec

from schemas import codec
from schemas.codec import HEADER_BYTES
from schemas.events import Example, Features, LabelValue, Lane, read_example
from schemas.shapes import Shapes, skip_to_features

_EXAMPLE_HEADER: Final = codec.EXAMPLE.header
_DOUBLE: Final = Struct("<d")
_NUMBER: Final = rb"[\x80-\xff]{0,9}[\x00-\x7f]"  # a varint
_MOST_TEXTS: Final = 64


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An example as a learner sees it.

    Attributes
    ----------
    answered, prediction, probabilities
        Whether something was served for it, and what.
    label, weight, correction
        `None` without a label.
    times
        The broker's (ms) of prediction and label, `None` where it did not come by the loop.
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


def entry_of(example: Example) -> Entry:
    """Return what a learner needs of an example."""
    outcome, label, joined = example.outcome, example.label, example.joined
    return Entry(
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


class EntryReader:
    """Reads entries of one stream's log; one object a process."""

    def __init__(self) -> None:
        self._features = Shapes()
        self._shares = Shapes(marker=b"")
        self._outcomes: set[bytes] = set()
        self._lanes: dict[bytes, tuple[str, str]] = {}
        self._outcome_end: re.Pattern[bytes] | None = None
        self._label_end: re.Pattern[bytes] | None = None

    def read(self, data: bytes) -> Entry:
        """Read an encoded Example. CodecError where it is none."""
        entry = self._read_quickly(data) if data.startswith(_EXAMPLE_HEADER) and self._label_end else None
        if entry is not None:
            return entry
        example = read_example(data)
        self._note(example)
        return entry_of(example)

    def _note(self, example: Example) -> None:
        self._features.note(example.event.features)
        outcome, lane = example.outcome, example.lane
        if outcome is not None and len(self._outcomes) < _MOST_TEXTS:
            self._shares.note(outcome.probabilities or {})
            texts = re.escape(_text(outcome.model)) + _NUMBER * 3 + re.escape(_text(outcome.source_topic))
            self._outcomes.add(texts)
            # Two numbers, no error, role and status, and a label.
            self._outcome_end = re.compile(
                rb"(?:" + rb"|".join(sorted(self._outcomes)) + rb")" + _NUMBER * 2 + rb"\x00[\x00\x02][\x00\x02]\x02",
                re.DOTALL,
            )
        if len(self._lanes) < _MOST_TEXTS:
            self._lanes[_text(lane.name) + _text(lane.epoch)] = (lane.name, lane.epoch)
            lanes = rb"|".join(re.escape(text) for text in sorted(self._lanes))
            # Value, weight, time, source and kind; the lane; partition, offsets and times.
            value = rb"(\x00[\x00\x01]|\x02" + _NUMBER + rb"|\x04.{8})"
            label = value + rb"(.{8})" + _NUMBER + rb"[\x00\x02\x04\x06]([\x00\x02])"
            joined = rb"\x02" + _NUMBER * 2 + rb"(" + _NUMBER + rb")" + _NUMBER + rb"(" + _NUMBER + rb")"
            self._label_end = re.compile(label + rb"(" + lanes + rb")(" + _NUMBER + rb")" + joined + rb"\Z", re.DOTALL)

    def _read_quickly(self, data: bytes) -> Entry | None:
        head = skip_to_features(data, HEADER_BYTES)
        if head is None:
            return None
        event_id, _, at = head
        mapped = self._features.read(data, at)
        if mapped is None:
            return None
        features, at = mapped
        answer = self._answer(data, at)
        if answer is None or self._outcome_end is None or self._label_end is None:
            return None
        prediction, shares, at = answer
        outcome_end = self._outcome_end.match(data, at)
        own_id = _text(event_id)
        if outcome_end is None or not data.startswith(own_id, outcome_end.end()):
            return None
        found = self._label_end.match(data, outcome_end.end() + len(own_id))
        if found is None:
            return None
        value, weight, kind, lane, sequence, predicted, labelled = found.groups()
        name, epoch = self._lanes[lane]
        taken: Any = features
        return Entry(
            event_id,
            taken,
            True,
            prediction,
            shares,
            _value(value),
            _DOUBLE.unpack(weight)[0],
            kind != b"\x00",
            Lane(name, epoch, _long(sequence)),
            (_long(predicted), _long(labelled)),
        )

    def _answer(self, data: bytes, at: int) -> tuple[LabelValue | None, dict[str, float] | None, int] | None:
        """Return prediction, probabilities and where they end, for an outcome that begins at `at`."""
        if len(data) < at + 10:
            return None
        head = data[at : at + 3]
        prediction: LabelValue | None = None
        if head in (b"\x02\x02\x00", b"\x02\x02\x01"):
            prediction = head[2] == 1
            at += 3
        elif head[:2] == b"\x02\x06":
            prediction = _DOUBLE.unpack_from(data, at + 2)[0]
            at += 10
        elif head[:2] == b"\x02\x00":
            at += 2
        else:
            return None  # no outcome, or a class by name
        if data[at : at + 1] == b"\x00":
            return prediction, None, at + 1
        shares = self._shares.read(data, at + 1) if data[at : at + 1] == b"\x02" else None
        return None if shares is None else (prediction, shares[0], shares[1])


def _text(text: str) -> bytes:
    """Return a text as Avro writes it: its length, then UTF-8."""
    raw = text.encode()
    return _unsigned(len(raw) << 1) + raw


def _unsigned(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


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
