"""Sums of the served answers in one window of examples, for all of them and by group."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from consumers.model.evaluation import Board, Row, said_by
from consumers.model.metric_totals import Totals
from consumers.model.river_model import NO_ANSWER
from consumers.model.tallies import Tallies
from consumers.monitor.served.carried_labels import CarriedLabels
from consumers.monitor.served.decided import DecidedBy
from consumers.monitor.served.facets import (
    DECISION,
    DELAY,
    EPOCH,
    MOST_VALUES,
    NO_LABEL,
    OTHER,
    SLICE,
    delay_of,
)
from consumers.monitor.served.groups import ALL, Group, Sums, encoded, labelled_group
from consumers.monitor.served.measures import BINS, measures_of, sums_of
from schemas.events import Example, Features, Outcome, Scalar
from schemas.label_spelling import Spellings, class_key
from schemas.profiles import ServedGroup
from schemas.target import Target, TargetError


@dataclass(frozen=True)
class ServedRules:
    """Rules by which served answers are measured.

    Attributes
    ----------
    span
        Length of a window (ms): labelled predictions are counted by windows of this length, for coverage.
    slices
        Returns an event's value by name of the slice.
    decided
        The decision in force when a prediction was made; `None` to leave these groups out.
    """

    target: Target
    span: int
    slices: Callable[[Features], Mapping[str, str]] | None = None
    decided: DecidedBy | None = None


class ServedSums:
    """Sums of one window of examples.

    An example counts if its answer was served and it has a label; a correction does not, because the example that it
    corrects has counted already. So the metrics are those of the learner's evaluation.

    Parameters
    ----------
    state
        `Window.state` of the partition's previous window; empty for the first.
    """

    def __init__(self, rules: ServedRules, state: bytes = b"") -> None:
        self._rules = rules
        task = rules.target.task
        wants = Tallies(measures_of(task), task == "anomaly").wants()
        self._known = CarriedLabels.from_json(state, task == "regression", wants)
        self._spelled = Spellings(self._known.classes)
        self._board = Board(task, partial(measures_of, task), 1, self._known)
        self._board.watch = self._count
        # The served answers come first.
        self._sources = [(place, source) for place, source in enumerate(self._board.sources) if source != "progressive"]
        self._groups: deque[list[Group]] = deque()  # of each row that the board has not measured yet
        self._tallies: dict[Group, list[Tallies]] = {}
        self._labels: Counter[Group] = Counter()
        self._values: dict[str, set[str]] = {}
        self._predicted: Counter[int] = Counter()
        self._calibration: defaultdict[tuple[str, int], float] = defaultdict(float)

    def add(self, examples: Sequence[Example], broker_times: Sequence[int]) -> None:
        """Add examples in the order of the log; `broker_times` (ms) are those of the examples."""
        if self._rules.decided is not None and broker_times:
            # An example may come long after its prediction, by as long as no joiner ran.
            made = [each.joined.prediction_time for each in examples if each.joined is not None]
            self._rules.decided.cover(min([*made, *broker_times]), max(broker_times))
        for example in examples:
            label, outcome, joined = example.label, example.outcome, example.joined
            if label is None or outcome is None or joined is None or label.kind == "correction":
                continue
            if outcome.error is not None or outcome.role != "serving":
                continue
            try:
                truth = self._as_met(self._rules.target.of_log(label.value))
            except TargetError:
                continue
            came = joined.label_offset >= 0 and label.source != "timeout"
            times = (joined.prediction_time, joined.label_time)
            self._note_groups(example.event.features, outcome, times, came)
            self._calibrate(truth, outcome)
            self._board.add(truth, NO_ANSWER, (outcome.prediction, outcome.probabilities), times)

    def _as_met(self, truth: Scalar) -> Scalar:
        """Return a class in the spelling that came first, as learners do."""
        target = self._rules.target
        if target.task != "multiclass" or target.classes is not None:
            return truth
        met = self._spelled.find(truth)
        if met is None:
            self._spelled.add(truth)
        return truth if met is None else met

    def _note_groups(self, features: Features, outcome: Outcome, times: tuple[int, int], came: bool) -> None:
        predicted, labelled = times
        keys = {
            EPOCH: f"{outcome.model}:{outcome.epoch}",
            DELAY: delay_of(max(0, labelled - predicted)) if came else NO_LABEL,
        }
        if self._rules.decided is not None:
            keys[DECISION] = self._rules.decided.at(predicted)
        if self._rules.slices is not None:
            keys |= {SLICE + name: value for name, value in self._rules.slices(features).items()}
        groups = [(facet, self._kept(facet, value)) for facet, value in keys.items()]
        self._groups.append(groups)
        self._labels.update((ALL, *groups))
        if came:
            self._predicted[predicted // self._rules.span * self._rules.span] += 1

    def _kept(self, facet: str, value: str) -> str:
        known = self._values.setdefault(facet, set())
        if value not in known:
            if len(known) >= MOST_VALUES:
                return OTHER
            known.add(value)
        return value

    def _count(self, rows: Sequence[Row]) -> None:
        """Take rows that were measured."""
        by_group: dict[Group, list[Row]] = {}
        for row in rows:
            for group in self._groups.popleft():
                by_group.setdefault(group, []).append(row)
        for group, some in by_group.items():
            if group not in self._tallies:
                self._tallies[group] = [self._new_tallies() for _ in self._sources]
            for (place, _), tallies in zip(self._sources, self._tallies[group], strict=True):
                tallies.add_all(said_by(some, place))

    def _new_tallies(self) -> Tallies:
        task = self._rules.target.task
        return Tallies(measures_of(task), task == "anomaly")

    def _calibrate(self, truth: Scalar, outcome: Outcome) -> None:
        """Count the score by bins: the probability of True, or of the predicted class, and how often it was right."""
        binary = self._rules.target.task == "binary"
        said = True if binary else outcome.prediction
        if not outcome.probabilities or not isinstance(said, (bool, int, float, str)):
            return
        share = outcome.probabilities.get(class_key(said), 0.0 if binary else -1.0)
        if not 0.0 <= share <= 1.0:
            return
        place = min(BINS - 1, int(share * BINS))
        self._calibration["score_count", place] += 1
        self._calibration["score_sum", place] += share
        self._calibration["score_hits", place] += truth == said

    # --- the result --------------------------------------------------------------------------------

    def finish(self) -> tuple[list[ServedGroup], bytes]:
        """Return the groups, and the state for the partition's next window."""
        tallies = self._board.tallies()
        whole = self._sums([tallies[source] for _, source in self._sources])
        whole["served"] |= self._calibration
        found = {ALL: Sums(self._labels[ALL], whole)}
        for group, several in self._tallies.items():
            found[group] = Sums(self._labels[group], self._sums(several))
        groups = encoded(found)
        if self._predicted:
            groups.append(labelled_group(self._predicted))
        return groups, self._known.to_json()

    def _sums(self, several: Sequence[Tallies]) -> dict[str, Totals]:
        named = zip(self._sources, several, strict=True)
        return {source: sums_of(tallies) for (_, source), tallies in named}
