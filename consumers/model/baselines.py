"""The two baselines a model has to beat, computed under the same label delay as the model.

On Elec2 "the last label" scores 85.3 % if labels come at once, and 63.6 % if they come a day late.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

from schemas.events import Scalar

Wants: TypeAlias = Literal["value", "share", "shares"]
Graded: TypeAlias = tuple[Scalar | None, Any]
"""An answer's value, and what metrics need beside it: nothing, the share of True, or every class's share."""

_MOST: Final = 512
_KEPT_WHOLE: Final = 256
_MOST_CLASSES: Final = 256
_NONE_YET: Final = ((None, None), (None, None))
NOT_ASKED: Final = -1.0
_NOT_ASKED: Final = ((None, NOT_ASKED), (None, NOT_ASKED))


class KnownLabels:
    """Answers of "the last label" and "class frequencies so far" (or the mean so far) at any past time.

    The newest 256 times are kept one by one, older ones more and more coarsely. Rounding never moves a label to an
    earlier time, so a baseline may know a little less than it could, and never more. With more than 256 classes no
    shares are kept.
    """

    def __init__(self, numeric: bool, wants: Wants) -> None:
        self._numeric = numeric
        self._wants: Wants = wants
        self._times: list[int] = []
        self._answers: list[Any] = []
        self._counts: dict[Scalar, int] = {}
        self._certain: dict[Scalar, dict[Scalar, float]] = {}
        self._likely: Scalar | None = None  # the first of the classes with the largest count
        self._count, self._total = 0, 0.0

    def follow(self, times: Iterable[tuple[int, int] | None], labels: Iterable[Scalar]) -> list[tuple[Graded, Graded]]:
        """Return the two baseline answers to each event, and add the labels.

        Parameters
        ----------
        times
            When the event and its label came (ms); without times nothing was answered.
        """
        answers: list[tuple[Graded, Graded]] = []
        for both, label in zip(times, labels, strict=True):
            if both is None:
                answers.append(_NOT_ASKED)
                continue
            answers.append(self.graded_at(both[0]))
            self.add(both[1], label)
        return answers

    def add(self, time: int, label: Scalar) -> None:
        """Add a label that came at `time` (ms); a label out of order counts as coming now."""
        self._count += 1
        answers = self._answers_after(label)
        if self._times and time <= self._times[-1]:
            self._answers[-1] = answers
            return
        self._times.append(time)
        self._answers.append(answers)
        if len(self._times) > _MOST:
            cut = len(self._times) - _KEPT_WHOLE
            self._times[:cut] = self._times[:cut:2]
            self._answers[:cut] = self._answers[:cut:2]

    def _answers_after(self, label: Scalar) -> Any:
        """Count a label that was just added, and return what is kept of the answers from now on."""
        return self._mean(float(label)) if self._numeric else self._frequencies(label)

    def _mean(self, label: float) -> tuple[Graded, Graded]:
        self._total += label
        return (label, None), (self._total / self._count, None)

    def _frequencies(self, label: Scalar) -> tuple[Graded, Graded]:
        counts = self._counts
        counts[label] = times = counts.get(label, 0) + 1
        likely = self._likely
        if likely is None or (label != likely and times >= counts[likely]):
            self._likely = likely = max(counts, key=counts.__getitem__)
        if self._wants == "value":
            return (label, None), (likely, None)
        if self._wants == "share":
            return (label, 1.0 if label is True else 0.0), (likely, counts.get(True, 0) / self._count)
        if len(counts) > _MOST_CLASSES:
            return (label, None), (likely, None)
        count = self._count
        return (label, self._certain_of(label)), (likely, {each: number / count for each, number in counts.items()})

    def _certain_of(self, label: Scalar) -> dict[Scalar, float]:
        """Return the shares of an answer that is certain of one class.

        The other classes have the share 0: to River's `CrossEntropy` a class without a share is no error at all.
        """
        if label not in self._certain or len(self._certain[label]) < len(self._counts):
            self._certain[label] = {each: float(each == label) for each in self._counts}
        return self._certain[label]

    def graded_at(self, time: int) -> tuple[Graded, Graded]:
        """Return the two baseline answers at `time` (ms)."""
        at = bisect_right(self._times, time) - 1
        return _NONE_YET if at < 0 else self._answers[at]

    def dump(self) -> tuple[Any, ...]:
        """Return the state as plain values."""
        return self._numeric, self._wants, self._times, self._answers, self._counts, self._count, self._total

    @classmethod
    def load(cls, dumped: tuple[Any, ...]) -> KnownLabels:
        """Return the object that `dump` describes."""
        known = cls(*dumped[:2])
        known._times, known._answers, known._counts = list(dumped[2]), list(dumped[3]), dict(dumped[4])
        known._count, known._total = dumped[5:]
        known._likely = max(known._counts, key=known._counts.__getitem__, default=None)
        return known
