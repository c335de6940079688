"""One pass along the comparisons: each model's metrics and losses on the same events.

An event whose label was corrected counts with its last label. A correction comes after the event that it corrects, so a
pass that finds corrections is repeated with them.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from consumers.model.baselines import Graded, KnownLabels
from consumers.model.evaluation import Board, Row
from consumers.model.metric_totals import Totals, totals_of
from consumers.model.quality import BASELINES
from consumers.model.river_model import NO_ANSWER
from consumers.referee.losses import Loss
from consumers.referee.rule import Rule
from millstream.evaluation.blocks import Blocks
from millstream.evaluation.compare.facets import Facet, Labelled
from millstream.evaluation.compare.log import Arrived, ComparisonLog, Progress
from millstream.evaluation.rows import Refusals
from millstream.evaluation.sliced import Sliced
from schemas.comparisons import Comparison, Shadow, is_unready
from schemas.events import LabelValue, Scalar
from schemas.model_names import name_of
from schemas.target import Target, TargetError, class_key

SERVED: Final = ""
"""Stands for what was served, by whichever model served then."""
_CORRECTION: Final = "correction"
_TIMEOUT: Final = "timeout"
_NEVER: Final = object()
_NO_ANSWER_YET: Final = math.nan


class Given(NamedTuple):
    """One model's answer to one event.

    Attributes
    ----------
    age_ms
        Age of the version that answered in the shadow; -1 for the one that served.
    """

    prediction: LabelValue | None
    probabilities: dict[str, float] | None
    failed: bool
    age_ms: int


@dataclass(frozen=True)
class Settings:
    """What to compare, and by what.

    Attributes
    ----------
    models
        Names of the models to compare.
    metrics
        Creates the metrics.
    rule
        The rule by whose loss and bounds models are compared; `None` without a loss.
    wait_ms
        The label wait: the delay of a label that stands for a missing one.
    """

    models: tuple[str, ...]
    target: Target
    metrics: Callable[[], list[Any]]
    rule: Rule | None
    wait_ms: int
    facets: Sequence[Facet] = ()


class Contender:
    """Metrics and losses of one model, or of what was served."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.name = name
        task = settings.target.task
        self.board = Board(task, settings.metrics, window=1)
        self.losses = array("d")
        self.ages = array("q")
        sources = len(self.board.sources)
        self.sliced = {
            facet.name: Sliced(settings.metrics, sources, takes_scores=task == "anomaly") for facet in settings.facets
        }
        self.board.watch = self._count if self.sliced else None

    def _count(self, rows: Sequence[Row]) -> None:
        for sliced in self.sliced.values():
            sliced.count(rows)

    def totals(self, source: str) -> Totals:
        """Return the totals of a source of its board."""
        return totals_of(self.board.tallies()[source])


@dataclass
class Counts:
    """Numbers of events by what became of them.

    Attributes
    ----------
    asked, missing
        Events that all models were asked, by the model that served; and the others, by the models that were not asked.
    unlabelled
        Entries without a label.
    """

    asked: Counter[str] = field(default_factory=Counter)
    missing: Counter[tuple[str, ...]] = field(default_factory=Counter)
    unlabelled: int = 0


class Pass:
    """One pass along the comparisons.

    Attributes
    ----------
    contenders
        By model; `SERVED` for what was served.
    baseline_losses
        By source of the baselines; NaN before the first label.
    predicted, delays
        Broker's time of each event's prediction, and the delay of its label (ms).
    places
        Partition and offset of each event's prediction, one after the other.
    label_ages
        Time of the prediction and delay of each label that came, one after the other; also of events that are left out.
    keys
        Slice of each event, by facet.
    newest
        Time of the newest prediction, and the model that served it.
    clock
        The newest of the broker's times (ms).
    blocks
        Totals by contender and, at the end, of the baselines.
    """

    def __init__(self, settings: Settings, corrected: dict[tuple[int, int], LabelValue]) -> None:
        self.settings = settings
        self.corrected = corrected
        self.found_corrections = False
        self.refused = Refusals()
        self.counts = Counts()
        self.contenders = {name: Contender(settings, name) for name in (*settings.models, SERVED)}
        first = self.contenders[settings.models[0]]
        self.baselines = [source for source in first.board.sources if source in BASELINES]
        self.baseline_losses = {source: array("d") for source in self.baselines}
        self.predicted, self.delays = array("q"), array("q")
        self.places, self.label_ages = array("q"), array("q")
        self.keys: dict[str, list[str | None]] = {facet.name: [] for facet in settings.facets}
        self.newest = (-1, "")
        self.clock = 0
        self.blocks: Blocks[dict[str, Totals]] = Blocks(self._totals)
        self.loss = None if settings.rule is None else Loss(settings.rule.loss)
        self._known = KnownLabels(settings.target.task == "regression", "shares")

    @property
    def measured(self) -> int:
        """Number of events that all models were asked and that have a label."""
        return len(self.predicted)

    def run(self, log: ComparisonLog, show: Progress) -> None:
        """Read all comparisons of the period."""
        for arrived in log.read(self.refused, show):
            self._take(arrived)
        if self.measured:
            self.blocks.finish(self.measured)

    def _take(self, arrived: Arrived) -> None:
        comparison = arrived.comparison
        shadow, label = comparison.shadow, comparison.label
        self.clock = max(self.clock, arrived.time)
        if label is None:
            self.counts.unlabelled += 1
            return
        place = (shadow.partition, shadow.offset)
        if label.kind == _CORRECTION:
            if self.corrected.get(place, _NEVER) != label.value:
                self.corrected[place] = label.value
                self.found_corrections = True
            return
        event = _event_of(comparison)
        if event.delay_ms is not None:
            self.label_ages.extend((shadow.time, event.delay_ms))
        self.newest = max(self.newest, (shadow.time, name_of(shadow.outcome.model)))
        answers = self._answers(shadow)
        missing = tuple(name for name in self.settings.models if name not in answers)
        if missing:
            self.counts.missing[missing] += 1
            return
        value = self.corrected.get(place, label.value)
        try:
            truth = self.settings.target.of_log(value)
        except TargetError as error:
            self.refused.add(f"event {shadow.event.event_id}", str(error))
            return
        self.counts.asked[name_of(shadow.outcome.model)] += 1
        self._measure(event, place, truth, answers)

    def _answers(self, shadow: Shadow) -> dict[str, Given]:
        """Return the answers of the models that were asked, by name."""
        outcome = shadow.outcome
        served = Given(outcome.prediction, outcome.probabilities, outcome.error is not None, -1)
        answers = {SERVED: served}
        if not is_unready(outcome):
            answers[name_of(outcome.model)] = served
        for each in shadow.challengers:
            if each.epoch >= 0 and not is_unready(each):  # else it could not answer yet
                given = Given(each.prediction, each.probabilities, each.error is not None, each.age_ms)
                answers[name_of(each.model)] = given
        return answers

    def _measure(self, event: Labelled, place: tuple[int, int], truth: Scalar, answers: dict[str, Given]) -> None:
        delay = self.settings.wait_ms if event.delay_ms is None else event.delay_ms
        times = (event.predicted_ms, event.predicted_ms + delay)
        keys = {facet.name: facet.key(event) for facet in self.settings.facets}
        for name, contender in self.contenders.items():
            given = answers[name]
            for facet, sliced in contender.sliced.items():
                sliced.expect(keys[facet])
            sent = (None, None) if given.failed else (given.prediction, given.probabilities)
            contender.board.add(truth, NO_ANSWER, sent, times)
            if given.age_ms >= 0:
                contender.ages.append(given.age_ms)
            if self.loss is not None:
                error = True if given.failed else None
                contender.losses.append(self.loss(truth, given.prediction, given.probabilities, error))
        if self.loss is not None and self.baselines:
            self._measure_baselines(self.loss, times, truth)
        self.predicted.append(event.predicted_ms)
        self.delays.append(delay)
        self.places.extend(place)
        for facet, key in keys.items():
            self.keys[facet].append(key)
        self.blocks.note(self.measured)

    def _measure_baselines(self, loss: Loss, times: tuple[int, int], truth: Scalar) -> None:
        (graded,) = self._known.follow([times], [truth])
        for source, answer in zip(self.baselines, graded, strict=True):
            self.baseline_losses[source].append(_baseline_loss(loss, truth, answer))

    def _totals(self) -> dict[str, Totals]:
        first = self.contenders[self.settings.models[0]]
        totals = {name: contender.totals("served") for name, contender in self.contenders.items()}
        return totals | {source: first.totals(source) for source in self.baselines}


def measured(settings: Settings, log: ComparisonLog, show: Progress) -> Pass:
    """Return a complete pass along the comparisons, in which each event counts with its last label."""
    corrected: dict[tuple[int, int], LabelValue] = {}
    while True:
        found = Pass(settings, corrected)
        found.run(log, show)
        if not found.found_corrections:
            return found


def _event_of(comparison: Comparison) -> Labelled:
    shadow, label, joined = comparison.shadow, comparison.label, comparison.joined
    came = joined is not None and joined.label_offset >= 0 and label is not None and label.source != _TIMEOUT
    delay = max(0, joined.label_time - shadow.time) if came and joined is not None else None
    return Labelled(shadow.time, delay, shadow.slices)


def _baseline_loss(loss: Loss, truth: Scalar, graded: Graded) -> float:
    value, shares = graded
    if value is None and shares is None:
        return _NO_ANSWER_YET
    return loss(truth, value, None if shares is None else {class_key(each): share for each, share in shares.items()})
