"""Plain events in fewer steps: all features are doubles, and most answers have two classes.

`Answerer` has the general way, which is the reference: what is not certainly plain goes there, so this file refuses no
event. Both give the same bytes.
"""

from __future__ import annotations

from operator import le
from typing import Final, TypeAlias

import msgspec

from consumers.model.river_model import Answer, wire_value
from consumers.predictor.feature_requests import FAR_FUTURE_MS, LONGEST_ID
from schemas.contract import Contract, Range
from schemas.events import Event, Features, Scalar
from schemas.target import class_key

_MOST_SHAPES: Final = 64
_DOUBLES: Final = {float}
_Shape: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
_ANY: Final[_Shape] = ((), ())
_encode: Final = msgspec.json.Encoder().encode


class PlainEvents:
    """Tells which events satisfy the contract at a glance, and are given to the model as they were sent."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        # By the names of the features: their least and greatest values, `_ANY` if the event's own features are given to
        # the model, `None` if such events are not plain.
        self._shapes: dict[tuple[str, ...], _Shape | None] = {}

    def used(self, event: Event, now: int) -> Features | None:
        """Return the features for the model, as the contract gives them; `None` if the event is not plain.

        `now` is the wall clock, ms.
        """
        features = event.features
        values = features.values()
        # A sum is finite only if all its terms are: NaN and infinities stay in it.
        if set(map(type, values)) != _DOUBLES or (total := sum(values)) - total != 0.0:  # type: ignore[arg-type]
            return None
        if event.entity_key is not None or not 0 < len(event.event_id) <= LONGEST_ID:
            return None
        if not 0 <= event.event_time <= now + FAR_FUTURE_MS:
            return None
        names = tuple(features)
        try:
            shape = self._shapes[names]
        except KeyError:
            shape = self._note(names)
        if shape is None or shape is _ANY:
            return features if shape is _ANY else None
        lows, highs = shape
        within = all(map(le, lows, values)) and all(map(le, values, highs))  # type: ignore[arg-type]
        return dict(features) if within else None

    def _note(self, names: tuple[str, ...]) -> _Shape | None:
        if len(self._shapes) == _MOST_SHAPES:
            del self._shapes[next(iter(self._shapes))]
        contract = self._contract
        ranges = None if contract.sees is not None else contract.ranges(names)
        kept: list[Range] = [each for each in ranges or () if each is not None]
        shape: _Shape | None
        if ranges is None or len(kept) < len(names):
            shape = None
        elif contract.is_open:
            shape = _ANY
        else:
            shape = tuple(low for low, _ in kept), tuple(high for _, high in kept)
        self._shapes[names] = shape
        return shape


class SaidWriter:
    """Writes what callers get of one version's answers within one millisecond, as JSON; see `Said`."""

    def __init__(self, model: str, version: str, now: int) -> None:
        self._end = b',"model":%b,"version":%b,"predicted_at":%d}' % (_encode(model), _encode(version), now)
        self._two: _TwoClasses | None = None

    def write(self, event_id: str, answer: Answer) -> bytes | None:
        """Return the JSON of an answer with two classes; `None` of any other."""
        value, shares = answer
        if shares is None or len(shares) != 2:
            return None
        (first, one), (second, other) = shares.items()
        if one.__class__ is not float or other.__class__ is not float:
            return None
        two = self._two
        # Compared by identity, because True equals 1 and is written otherwise.
        if two is None or first is not two.first or second is not two.second:
            self._two = two = _TwoClasses(first, second)
        before = two.before_first if value is first else two.before_second if value is second else None
        if before is None:
            return None
        said = _encode(one), two.between, _encode(other), b"}"
        return b"".join((b'{"event_id":', _encode(event_id), before, *said, self._end))


class _TwoClasses:
    """The text around two probabilities, which is the same for most answers of a stream."""

    __slots__ = ("before_first", "before_second", "between", "first", "second")

    def __init__(self, first: Scalar, second: Scalar) -> None:
        self.first, self.second = first, second
        one, other = _encode(class_key(first)), _encode(class_key(second))
        self.before_first: bytes | None = None
        self.before_second: bytes | None = None
        self.between = b",%b:" % other
        if one != other:  # as 1 and "1" are, which are one name in JSON
            self.before_first = b',"prediction":%b,"probabilities":{%b:' % (_encode(wire_value(first)), one)
            self.before_second = b',"prediction":%b,"probabilities":{%b:' % (_encode(wire_value(second)), one)
