"""Known labels that are carried from window to window, as JSON of a bounded size."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from consumers.model.baselines import Graded, KnownLabels, Wants
from schemas.events import Scalar

MOST_BYTES: Final = 30_000
"""Most bytes of the JSON."""
_MOST_CLASSES: Final = 256
_KEPT_WHOLE: Final = 32
_NONE_YET: Final = ((None, None), (None, None))


class _Classes(NamedTuple):
    """Place of the last label among the classes, and how many labels of each class there were."""

    last: int
    counts: tuple[int, ...]


class _Numbers(NamedTuple):
    """The last label, the sum of all labels, and their number."""

    last: float
    total: float
    number: int


_Entry: TypeAlias = list[Any]


class _State(msgspec.Struct, frozen=True):
    """The JSON.

    Attributes
    ----------
    classes
        In the order in which they came first.
    entries
        Time since the entry before (ms), then for numbers the last label, the sum, and the number of labels since;
        for classes the place of the last label, and pairs of a class's place and its number of labels since.
    """

    numeric: bool
    classes: list[bool | int | float | str]
    entries: list[_Entry]


_DECODER: Final = msgspec.json.Decoder(_State)


class CarriedLabels(KnownLabels):
    """`KnownLabels` that keep numbers of labels instead of answers, so that they fit into a window's state.

    The answers are those of `KnownLabels`. If the JSON would be larger than `MOST_BYTES`, older times are kept more
    coarsely; if there are too many or too long class names even for that, the next window begins without labels.
    """

    def __init__(self, numeric: bool, wants: Wants) -> None:
        super().__init__(numeric, wants)
        self._names: list[Scalar] = []
        self._places: dict[Scalar, int] = {}

    @property
    def classes(self) -> list[Scalar]:
        """Return the classes in the order in which they came first."""
        return self._names

    def _answers_after(self, label: Scalar) -> _Classes | _Numbers:
        if self._numeric:
            self._total += float(label)
            return _Numbers(float(label), self._total, self._count)
        if label not in self._counts:
            self._places[label] = len(self._names)
            self._names.append(label)
        self._counts[label] = self._counts.get(label, 0) + 1
        return _Classes(self._places[label], tuple(self._counts.values()))

    def graded_at(self, time: int) -> tuple[Graded, Graded]:
        """Return the two baseline answers at `time` (ms)."""
        at = bisect_right(self._times, time) - 1
        return _NONE_YET if at < 0 else self._graded(self._answers[at])

    def _graded(self, found: _Classes | _Numbers) -> tuple[Graded, Graded]:
        if isinstance(found, _Numbers):
            return (found.last, None), (found.total / found.number, None)
        last, counts = self._names[found.last], found.counts
        likely = self._names[counts.index(max(counts))]
        if self._wants == "value" or len(counts) > _MOST_CLASSES:
            return (last, None), (likely, None)
        count = sum(counts)
        if self._wants == "share":
            place = self._places.get(True, len(counts))
            trues = counts[place] if place < len(counts) else 0
            return (last, 1.0 if last is True else 0.0), (likely, trues / count)
        shares = {name: number / count for name, number in zip(self._names, counts, strict=False)}
        return (last, {name: float(name == last) for name in shares}), (likely, shares)

    # --- JSON --------------------------------------------------------------------------------------

    def to_json(self) -> bytes:
        """Return the state, at most `MOST_BYTES`."""
        kept = [*zip(self._times, self._answers, strict=True)]
        while True:
            encoded = msgspec.json.encode(_State(self._numeric, self._names, list(_entries(kept))))
            if len(encoded) <= MOST_BYTES:
                return encoded
            if len(kept) <= _KEPT_WHOLE + 1:
                return msgspec.json.encode(_State(self._numeric, [], []))
            cut = len(kept) - _KEPT_WHOLE
            kept[:cut] = kept[:cut:2]  # as in `KnownLabels`

    @classmethod
    def from_json(cls, encoded: bytes, numeric: bool, wants: Wants) -> CarriedLabels:
        """Return the object whose state this is; a new one if the state is empty, damaged, or of another task."""
        known = cls(numeric, wants)
        if not encoded:
            return known
        try:
            state = _DECODER.decode(encoded)
            if state.numeric == numeric:
                known._restore(state)
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError, ArithmeticError):
            return cls(numeric, wants)
        return known

    def _restore(self, state: _State) -> None:
        """Take a state. Raises LookupError, TypeError, ValueError or ArithmeticError if it is not valid."""
        self._names = [*state.classes]
        self._places = {name: place for place, name in enumerate(self._names)}
        self._times = list(accumulate(entry[0] for entry in state.entries))
        counts: list[int] = []
        for entry in state.entries:
            if self._numeric:
                self._count += entry[3]
                self._total = float(entry[2])
                self._answers.append(_Numbers(float(entry[1]), self._total, self._count))
                continue
            for place, number in zip(entry[2::2], entry[3::2], strict=True):
                counts += [0] * (place + 1 - len(counts))
                counts[place] += number
            self._answers.append(_Classes(entry[1], tuple(counts)))
        if not self._numeric:
            self._counts = dict(zip(self._names, counts, strict=True))
            self._count = sum(counts)
        for answers in self._answers:
            self._graded(answers)


def _entries(kept: Iterable[tuple[int, _Classes | _Numbers]]) -> Iterator[_Entry]:
    """Yield the entries of a state."""
    time, count = 0, 0
    before: tuple[int, ...] = ()
    for at, found in kept:
        if isinstance(found, _Numbers):
            yield [at - time, found.last, found.total, found.number - count]
            count = found.number
        else:
            padded = before + (0,) * (len(found.counts) - len(before))
            news = [(n, now - was) for n, (now, was) in enumerate(zip(found.counts, padded, strict=True)) if now > was]
            yield [at - time, found.last, *(number for pair in news for number in pair)]
            before = found.counts
        time = at
