"""Reading of predictions and writing of shadows, which repeat bytes of their prediction.

The bytes written equal those of `Shadow.encode`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct
from typing import Final, NamedTuple

import msgspec

from schemas import codec
from schemas.codec import HEADER_BYTES, CodecError, long, string
from schemas.comparisons import FALSE, TRUE, Challenger
from schemas.events import Features, LabelValue, read_prediction
from schemas.fast_features import Shapes, skip_to_features

_double: Final = Struct("<d").pack
_PREDICTION_HEADER: Final = codec.PREDICTION.header
_NULL: Final = b"\x00"
_NO_FEATURES: Final = b"\x00"
_ENDS: Final = b"\x00"  # of a map or an array
_HAS_OUTCOME: Final = b"\x02"  # the second branch of [null, Outcome]
# Branches of the union of a prediction.
_BOOLEANS: Final = {True: b"\x02\x01", False: b"\x02\x00"}
_LONG: Final = b"\x04"
_DOUBLE: Final = b"\x06"
_STRING: Final = b"\x08"
# Branches of the union of probabilities.
_ONE_SHARE: Final = b"\x02"
_SHARES: Final = b"\x04"


class ReadPrediction(NamedTuple):
    """A prediction with the parts of its bytes that its shadow repeats.

    Attributes
    ----------
    event_id
        UTF-8.
    head
        The fields of the event before its features.
    served_by
        Id of the model that answered.
    outcome
        The outcome, with its branch of the union.
    """

    event_id: bytes
    features: Features
    served_by: str
    head: bytes
    outcome: bytes


class PredictionParts:
    """Reads the predictions of one stream; each process has one object."""

    def __init__(self) -> None:
        self._shapes = Shapes()

    def read(self, data: bytes) -> ReadPrediction:
        """Read an encoded Prediction. Raises CodecError if it is not one."""
        if not data.startswith(_PREDICTION_HEADER):
            raise CodecError("not a prediction")
        found = skip_to_features(data, HEADER_BYTES)
        known = None if found is None else self._shapes.read(data, found[2])
        if found is None or known is None:
            return self._read_slowly(data)
        event_id, _, at = found
        features: Features = {**known[0]}
        end = known[1]
        outcome = data[end:]
        if outcome[:1] != _HAS_OUTCOME:
            raise CodecError("damaged Prediction: it has no outcome")
        served_by: str = codec.OUTCOME.decode_body(outcome, 1)["model"]
        return ReadPrediction(event_id.encode(), features, served_by, data[HEADER_BYTES:at], outcome)

    def _read_slowly(self, data: bytes) -> ReadPrediction:
        prediction = read_prediction(data)
        event = prediction.event
        self._shapes.note(event.features)
        key = _NULL if event.entity_key is None else b"\x02" + string(event.entity_key)
        head = string(event.event_id) + long(event.event_time) + key
        outcome = _HAS_OUTCOME + codec.OUTCOME.encode_body(msgspec.to_builtins(prediction.outcome))
        return ReadPrediction(event.event_id.encode(), event.features, prediction.outcome.model, head, outcome)


class ShadowWriter:
    """Encodes the shadows of one partition of predictions."""

    def __init__(self, partition: int) -> None:
        self._partition = long(partition)

    def write(
        self,
        prediction: ReadPrediction,
        place: tuple[int, int],
        slices: Mapping[str, str],
        challengers: Sequence[Challenger],
    ) -> bytes:
        """Return the encoded Shadow of a prediction at `place`: its offset and the broker's time of it (ms)."""
        offset, time = place
        sliced = [string(name) + string(value) for name, value in slices.items()]
        answers = [_challenger(each) for each in challengers]
        return b"".join(
            (
                codec.SHADOW.header,
                prediction.head,
                _NO_FEATURES,
                self._partition,
                long(offset),
                long(time),
                long(len(sliced)) if sliced else b"",
                *sliced,
                _ENDS,
                long(len(answers)) if answers else b"",
                *answers,
                _ENDS,
                prediction.outcome,
            )
        )


def tick(time: int) -> bytes:
    """Return the record that only carries the time of the newest prediction of a partition."""
    return codec.SHADOW_TICK.encode({"time": time})


def _challenger(each: Challenger) -> bytes:
    said = each.prediction
    return b"".join(
        (
            string(each.model),
            long(each.epoch),
            long(each.examples),
            long(each.age_ms),
            _value(said),
            _shares(each.probabilities),
            _NULL if each.error is None else b"\x02" + string(each.error),
        )
    )


def _value(value: LabelValue | None) -> bytes:
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _BOOLEANS[value]
    if isinstance(value, int):
        return _LONG + long(value)
    if isinstance(value, float):
        return _DOUBLE + _double(value)
    assert isinstance(value, str), value  # noqa: S101 - a model answers with a single value
    return _STRING + string(value)


def _shares(shares: Mapping[str, float] | None) -> bytes:
    if shares is None:
        return _NULL
    if shares.keys() == {TRUE, FALSE} and shares[FALSE] == 1.0 - shares[TRUE]:
        return _ONE_SHARE + _double(shares[TRUE])
    count = long(len(shares)) if shares else b""
    return _SHARES + count + b"".join([string(name) + _double(share) for name, share in shares.items()]) + _ENDS
