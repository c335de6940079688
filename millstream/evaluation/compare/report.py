"""Report of a comparison of a stream's models: findings as plain values, and their words."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from millstream.evaluation.findings import Slice
from millstream.evaluation.intervals import Estimate
from millstream.evaluation.lines import verdict
from millstream.evaluation.report import Shown
from millstream.evaluation.text import Block, Words, intervals, number, shown, sliced, tables, verdicts, word
from schemas.duration_text import spoken

LOSS: Final = "loss"
"""Name of the loss among the metrics."""


class Pair(msgspec.Struct, frozen=True):
    """Difference of the mean loss of two models, `of` minus `than`, on the same events.

    Attributes
    ----------
    loss
        Over all events.
    at_any_time
        The same mean, with an interval that holds however often it is looked at.
    quick, slow
        Over the events whose label came within the median delay, and over the others.
    rests_on_quick
        True if the difference is clear over all events, and over those with slow labels not clear and less than half of
        that over quick ones.
    """

    of: str
    than: str
    loss: Estimate
    at_any_time: Estimate
    quick: Estimate
    slow: Estimate
    rests_on_quick: bool


class SlicedPairs(msgspec.Struct, frozen=True):
    """Differences of the mean loss over one slice, by challenger."""

    value: str
    counted: int
    losses: dict[str, Estimate]


class LabelAge(msgspec.Struct, frozen=True):
    """Labels of the shadowed events that are at least `age_ms` old: how many came by that age."""

    age_ms: int
    events: int
    labelled: int


class LossUsed(msgspec.Struct, frozen=True):
    """The loss.

    Attributes
    ----------
    bound
        What an event without an answer costs.
    level
        Largest probability that one end of an interval `at_any_time` is ever wrong.
    """

    name: str
    bound: float
    level: float


class ModelComparison(Shown, frozen=True, kw_only=True):
    """Comparison of a stream's models on the same labelled events, as served and as answered in the shadow.

    Attributes
    ----------
    champion
        The model that served the newest event.
    served
        Number of the compared events by the model that served them.
    left_out
        Number of events that not all models were asked, by the models that were not.
    predicted_from_ms, predicted_to_ms
        Broker's times of the first and the last prediction compared.
    quick_within_ms
        The median delay of the labels; `None` if no label came later than it.
    quick_counted, slow_counted
        Number of events with quick and with slow labels.
    age_ms
        By model: median age of the versions that answered in the shadow.
    """

    as_served: bool = True
    champion: str
    loss: LossUsed | None
    served: dict[str, int]
    left_out: dict[str, int]
    predicted_from_ms: int
    predicted_to_ms: int
    pairs: list[Pair]
    quick_within_ms: int | None
    quick_counted: int
    slow_counted: int
    windows: list[Slice]
    sliced_pairs: list[SlicedPairs]
    label_ages: list[LabelAge]
    age_ms: dict[str, float]
    warnings: list[str]

    @property
    def unit(self) -> str:
        return "events"

    def words(self) -> Words:
        return Words(
            f"Models of {self.on}",
            self._heading(),
            [*(f"warning: {each}" for each in self.warnings), *verdicts(self)],
            list(self._tables()),
            list(self._remarks()),
        )

    def _heading(self) -> str:
        models = [each.name for each in self.results if each.kind == "model"]
        told = ", ".join(f"{name} (serving)" if name == self.champion else name for name in models)
        times = f"{_utc(self.predicted_from_ms)} to {_utc(self.predicted_to_ms)} UTC"
        return f"{self.on}: {told} on the same {self.measured:,} labelled events, predicted {times}"

    def _tables(self) -> Iterator[Block]:
        for block in tables(self):
            if not block.title.startswith("By "):
                yield block
        if self.pairs:
            yield self._losses()
        yield sliced(self, self.windows, "window", baselines=False)
        if self.label_ages:
            yield self._ages()
        if self.slices:
            yield sliced(self, self.slices, str(self.by), baselines=False)
        if self.sliced_pairs:
            yield self._sliced_losses()

    def _losses(self) -> Block:
        quick = "quick labels"
        if self.quick_within_ms is not None:
            quick += f" (within {spoken(self.quick_within_ms)})"
        columns = ["", f"all {self.unit}", "at any time", quick, "slow labels"]
        rows = [
            [
                f"{each.of} − {each.than}",
                _judged(each.loss),
                _between(each.at_any_time),
                _judged(each.quick),
                _judged(each.slow),
            ]
            for each in self.pairs
        ]
        return Block("Difference of the loss", columns, rows)

    def _ages(self) -> Block:
        rows = [
            [spoken(each.age_ms), f"{each.events:,}", f"{100 * each.labelled / each.events:.1f} %"]
            for each in self.label_ages
        ]
        return Block("Labels by age of the event", ["age", "events so old", "with a label by then"], rows)

    def _sliced_losses(self) -> Block:
        names = [each.of for each in self.pairs]
        rows = [
            [
                each.value,
                f"{each.counted:,}",
                *(
                    f"{shown(each.losses[name], signed=True)}{word(verdict(each.losses[name], False))}"
                    for name in names
                ),
            ]
            for each in self.sliced_pairs
        ]
        columns = [str(self.by), self.unit, *(f"{each.of} − {each.than}" for each in self.pairs)]
        return Block(f"Difference of the loss by {self.by}", columns, rows)

    def _remarks(self) -> Iterator[str]:
        for missing, count in self.left_out.items():
            yield (
                f"{count:,} labelled events are left out: {missing} had no version that could answer when they were "
                "predicted, or was not asked"
            )
        if len(self.served) > 1:
            yield f"served by {', '.join(f'{name} {count:,}' for name, count in self.served.items())} of these events"
        if self.loss is not None:
            yield f"loss: {self.loss.name}; an event without an answer costs {number(self.loss.bound)}"
        if self.pairs and self.loss is not None:
            yield (
                f"at any time: each end of the interval holds at every look together, with a probability of "
                f"{1 - self.loss.level:.2%} (docs/models.md)"
            )
        for name, age in self.age_ms.items():
            yield f"{name} answered with versions that were {spoken(age)} old (median)"
        for refused in self.refused:
            yield f"{refused.count:,} records were refused; the first:"
            yield from (f"  {where}: {reason}" for where, reason in refused.first.items())
        yield from (f"note: {note}" for note in self.notes)
        yield intervals(self)


class ProgressiveComparison(Shown, frozen=True, kw_only=True):
    """Progressive metrics of a stream's learners: not as served.

    Attributes
    ----------
    versions
        The version of each model whose metrics are shown; `None` if it has none yet.
    same_examples
        True if all versions have learned the same examples.
    """

    as_served: bool = False
    versions: dict[str, str | None]
    same_examples: bool

    @property
    def unit(self) -> str:
        return "examples"

    def words(self) -> Words:
        names = list(self.bigger_is_better)
        columns = ["", "version", self.unit]
        columns += [f"{name} {'↑' if self.bigger_is_better[name] else '↓'}" for name in names]
        rows = [
            [
                each.name,
                self.versions.get(each.name) or "–",
                f"{each.counted:,}",
                *(shown(each.metrics.get(name, _NO_VALUE)) for name in names),
            ]
            for each in self.results
        ]
        return Words(
            f"Models of {self.on}",
            f"{self.on}: there are no labelled shadow answers yet; this is what each learner says of itself, not as "
            "served",
            [],
            [Block("Progressive metrics", columns, rows)],
            [f"note: {note}" for note in self.notes],
        )


_NO_VALUE: Final = Estimate(None)


def _judged(estimate: Estimate) -> str:
    """Return a difference of the loss, and what it means."""
    return f"{shown(estimate, signed=True)}{word(verdict(estimate, False))}"


def _between(estimate: Estimate) -> str:
    """Return an interval by its ends.

    >>> _between(Estimate(0.1, 0.05, 0.15)), _between(Estimate(None))
    ('+0.0500 to +0.1500', '–')
    """
    if estimate.low is None or estimate.high is None:
        return "–"
    return f"{_signed(estimate.low)} to {_signed(estimate.high)}"


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value)}"


def _utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
