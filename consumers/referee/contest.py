"""The contest of the models of a stream: comparisons in, a decision or none out.

A contest measures each challenger against one serving model, the champion, on events that the champion answered or
failed to answer. It begins anew with another champion, with a newer epoch of any model in it, and after its length.

- An event that another model, another epoch of the champion, or no model at all answered does not count: it says
  nothing of the champion.
- An answer that the model failed to give costs the bound of the loss, the champion's as well as a challenger's. An
  event that was refused for its own content, such as its features, does not count: no model was asked.
- A challenger that had no version at the time of the prediction, or that the event was not given to, does not take part
  in that event: the event counts for the others. A version that has learned nothing and has no answer is none.
- A label that is invalid for the target does not count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec

from consumers.referee.confidence import Differences
from consumers.referee.guard import Guard
from consumers.referee.losses import Loss
from consumers.referee.rule import Rule
from consumers.referee.settling import Begun, Labelled, Period, Settling
from schemas.comparisons import MODEL_FAILED, Challenger, Comparison, is_unready
from schemas.model_names import name_of
from schemas.target import TargetError

_DIGITS: Final = 6


@dataclass(frozen=True)
class Champion:
    """The serving model.

    Attributes
    ----------
    epoch
        The epoch that a person has pinned; `None` if the newest serves.
    former
        The model that served before, if the rule has promoted this one: the guard then compares the two.
    """

    model: str
    epoch: int | None = None
    former: str | None = None


class Places(NamedTuple):
    """What is needed to continue a contest after a restart; `None` before its first event.

    Attributes
    ----------
    epochs
        Newest epoch of each model that has taken part.
    """

    contest: Begun | None
    guard: Begun | None
    epochs: Mapping[str, int]

    @property
    def read_from(self) -> int | None:
        """Offset from which comparisons must be read again."""
        return min((each.read_from for each in (self.contest, self.guard) if each is not None), default=None)


class Standing(msgspec.Struct, frozen=True, array_like=True):
    """How a challenger stands against the champion.

    It is part of the offset metadata, as an array: a new field comes last, with a default.

    Attributes
    ----------
    epoch
        The challenger's epoch, -1 while it has not answered.
    labels
        Number of labelled events that count.
    mean, low, high
        Mean of the champion's loss minus the challenger's, and its bounds: above 0, the challenger is better. The
        bounds hold at all times at once, each with probability 1 - alpha / challengers; `None` before the first event.
    champion_loss, challenger_loss
        Mean losses on the same events; `None` before the first.
    barred
        True if the guard or a person has taken serving back from this epoch.
    """

    model: str
    epoch: int
    labels: int
    mean: float | None
    low: float | None
    high: float | None
    champion_loss: float | None
    challenger_loss: float | None
    barred: bool

    def brief(self) -> Standing:
        """Return it with the model's name in place of its id, and figures of six digits."""
        figures = ("mean", "low", "high", "champion_loss", "challenger_loss")
        rounded = {name: _short(getattr(self, name)) for name in figures}
        return msgspec.structs.replace(self, model=name_of(self.model), **rounded)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


_NOWHERE: Final = Places(None, None, {})


@dataclass
class _Pair:
    differences: Differences = field(default_factory=Differences)
    challenger_loss: float = 0.0


class Contest:
    """One champion's contest; the module docstring describes it.

    Parameters
    ----------
    barred
        Epochs up to which the rule does not promote a model, by model.
    places
        Of a contest that goes on after a restart: its records must then be given again.

    Attributes
    ----------
    winner
        The challenger to promote: the first whose lower bound exceeds `at_least`, after at least `labels` events; of
        several at the same event the one with the best bound. `None` while there is none.
    guard
        Guard of the champion, if the rule has promoted it.
    """

    def __init__(
        self, rule: Rule, champion: Champion, loss: Loss, barred: Mapping[str, int], places: Places = _NOWHERE
    ) -> None:
        self.champion = champion
        self.winner: str | None = None
        self._rule = rule
        self._loss = loss
        self._barred = dict(barred)
        self._challengers = [model for model in rule.models if model != champion.model]
        self._boundary = rule.boundary(len(self._challengers))
        self._begin(places)

    def _begin(self, places: Places) -> None:
        rule, width = self._rule, 1 + len(self._challengers)
        settling = Settling(rule.settle_ms, rule.wait_ms, width)
        self._period = Period(settling, rule.contest_ms, self._count, self._reset, places.contest)
        self.guard = Guard(rule, places.guard) if self.champion.former in self._challengers else None
        self._epochs = dict(places.epochs)
        self._reset()

    def _reset(self) -> None:
        self.winner = None
        self._pairs = {model: _Pair() for model in self._challengers}

    @property
    def places(self) -> Places:
        """What is needed to continue it after a restart."""
        return Places(self._period.begun, None if self.guard is None else self.guard.begun, self._epochs)

    @property
    def waiting(self) -> int:
        """Number of labels that have not settled."""
        return self._period.settling.waiting

    # --- comparisons -------------------------------------------------------------------------------

    def take(self, at: int, comparison: Comparison) -> None:
        """Take the comparison at this offset; `winner` is then up to date."""
        outcome, label, joined = comparison.shadow.outcome, comparison.label, comparison.joined
        if label is None or joined is None:
            return
        failure = outcome.error
        refused = failure is not None and failure.code != MODEL_FAILED
        # An outcome without an answer does not say which version failed.
        epoch = outcome.epoch if failure is None else max(outcome.epoch, self._epochs.get(outcome.model, -1))
        if refused or not self._is_champions(outcome.model, epoch, failure is not None):
            return
        if epoch < self._epochs.get(outcome.model, epoch) or is_unready(outcome):
            return
        try:
            champions = self._loss(label.value, outcome.prediction, outcome.probabilities, failure)
        except TargetError:
            return  # a label that is invalid for the target says nothing of any model
        answers = {each.model: each for each in comparison.shadow.challengers}
        lined_up = {outcome.model: epoch}
        lined_up |= {model: answers[model].epoch for model in self._challengers if model in answers}
        if any(epoch > self._epochs.get(model, epoch) for model, epoch in lined_up.items()):
            self._begin(_NOWHERE)
        losses = [champions, *(self._loss_of(label.value, answers.get(model)) for model in self._challengers)]
        for model, epoch in lined_up.items():
            if epoch >= 0:
                self._epochs.setdefault(model, epoch)
        event = _labelled(at, comparison, losses, self._rule.wait_ms)
        self._period.take(event)
        if self.guard is not None:
            former = losses[1 + self._challengers.index(str(self.champion.former))]
            self.guard.take(event._replace(values=(losses[0], former)), failure is not None)

    def _is_champions(self, model: str, epoch: int, failed: bool) -> bool:
        if model != self.champion.model:
            return False
        return (failed and epoch < 0) or (epoch >= 0 and self.champion.epoch in (None, epoch))

    def _loss_of(self, label: Any, answer: Challenger | None) -> float:
        """Return a challenger's loss, NaN if it does not take part."""
        if answer is None or answer.epoch < self._epochs.get(answer.model, 0) or is_unready(answer):
            return math.nan
        return self._loss(label, answer.prediction, answer.probabilities, answer.error)

    def _count(self, losses: Sequence[float]) -> None:
        champions = losses[0]
        winners: list[tuple[float, str]] = []
        for model, loss in zip(self._challengers, losses[1:], strict=True):
            if math.isnan(loss):
                continue  # it took no part
            pair = self._pairs[model]
            pair.differences.add(champions - loss)
            pair.challenger_loss += loss
            if self.winner is None and self._wins(model, pair.differences):
                winners.append((pair.differences.bounds(self._boundary)[0], model))
        if winners:
            self.winner = max(winners)[1]

    def _wins(self, model: str, differences: Differences) -> bool:
        return (
            differences.count >= self._rule.labels
            and not self._is_barred(model)
            and differences.exceeds(self._rule.at_least, self._boundary)
        )

    def _is_barred(self, model: str) -> bool:
        return model in self._barred and self._epochs.get(model, -1) <= self._barred[model]

    # --- how it stands -----------------------------------------------------------------------------

    def standing(self, model: str) -> Standing:
        """Return how a challenger stands."""
        pair = self._pairs[model]
        sums = pair.differences
        mean = low = high = champions = challengers = None
        if sums.count:
            mean, (low, high) = sums.mean, sums.bounds(self._boundary)
            challengers = pair.challenger_loss / sums.count
            champions = challengers + mean
        epoch, barred = self._epochs.get(model, -1), self._is_barred(model)
        return Standing(model, epoch, sums.count, mean, low, high, champions, challengers, barred)

    def standings(self) -> list[Standing]:
        """Return how each challenger stands, in the order of the rule's models."""
        return [self.standing(model) for model in self._challengers]


def _labelled(at: int, comparison: Comparison, values: Sequence[float], wait_ms: int) -> Labelled:
    """Return a comparison that has a label, with what is counted of it."""
    shadow, label, joined = comparison.shadow, comparison.label, comparison.joined
    assert label is not None and joined is not None  # noqa: S101, PT018 - the caller has checked that
    label_time = joined.label_time if joined.label_time >= 0 else shadow.time + wait_ms
    correction = label.kind == "correction"
    return Labelled(at, shadow.partition, shadow.offset, shadow.time, label_time, correction, values)
