"""Trial of one model along the rows: it is asked, then told the label; metrics are kept.

`LearnerState.take` is what a learner calls for each example, so contract, target, outlier bounds, poison checks and
metrics are those of a live stream. A row that breaks the model ends the pass, because the model may have learned half
of it: the evaluation begins again and leaves that row out, as a learner does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, Final

from consumers.model.baselines import Graded
from consumers.model.metric_totals import Totals, totals_of
from consumers.model.model_state import LearnerState, Plain, Poison, Unfit
from consumers.model.river_model import Answer, wire_value
from millstream.evaluation.rows import Refusals, Row, Served
from millstream.evaluation.sliced import Sliced
from millstream.scaffold.open_data import weigher
from millstream.stream.processor_rules import learning_rules
from millstream.stream.stream import Stream
from schemas.contract import ContractError
from schemas.events import LabelValue, Lane, Scalar
from schemas.fast_examples import FastExample
from schemas.target import TargetError

_MOST_LABELS: Final = 1000
_LANE: Final = Lane("evaluation", "", 0)
Metrics = Callable[[], Iterable[Any]]


class Broken(Exception):  # noqa: N818 - it ends a pass, not the evaluation
    """The model raised on a row, or was ruined by it; the row is to be left out."""

    def __init__(self, trial: Trial, number: int, reason: str) -> None:
        super().__init__(reason)
        self.trial = trial
        self.number = number
        self.reason = reason


class Trial:
    """One model's pass along the rows.

    Parameters
    ----------
    metrics
        Creates the metrics: the same for all models that are compared.
    asks_first
        The model is asked when the event comes and again when its label comes; otherwise only then.
    broken
        Rows that broke this model in an earlier pass, with the reasons.

    Attributes
    ----------
    refused
        Rows that the contract, the target, the bounds or the model refused, or that broke it.
    on_timeout
        Number of rows without a label that were learned as the stream's `on_timeout`.
    step
        Number of the current step: stages do not take them in their order.
    sliced
        Metrics by slice, if the rows are sliced.
    """

    def __init__(
        self, stream: Stream, metrics: Metrics, *, asks_first: bool, unit: str, broken: Mapping[int, str]
    ) -> None:
        self._stream = stream
        self._metrics = metrics
        self._unit = unit
        self._broken = broken
        self._rules = replace(learning_rules(stream), make_metrics=metrics)
        self._asks_first = asks_first or stream.task == "anomaly"
        self._weigh = weigher(stream)
        self._labels: dict[tuple[type, Any], Scalar] = {}
        self.state = LearnerState(self._rules, traced=False)
        self.refused = Refusals()
        self.step = 0
        self._refused: list[tuple[int, str, str]] = []
        self.on_timeout = self.unlabelled = 0
        self.sliced: Sliced | None = None

    def slice_by(self) -> None:
        """Keep tallies by the keys that `learn` is given."""
        board = self.state.board
        self.sliced = Sliced(self._metrics, len(board.sources), takes_scores=self._stream.task == "anomaly")
        board.watch = self.sliced.count

    def ask(self, row: Row) -> Served | None:
        """Return the answer to a new event; `None` if it was refused, so that it is never learned."""
        if not self._asks_first:
            return None
        try:
            features = self._rules.contract.apply(row.features)
            answer = self.state.ask(features)
        except ContractError as error:
            self._refuse(row, str(error))
            return None
        except Exception as error:  # noqa: BLE001 - a model may raise anything; a predictor answers with an error
            self._refuse(row, f"the model refused the event: {type(error).__name__}: {error}")
            return None
        if self._rules.learn_from_events and row.number not in self._broken:
            self.take(row, _entry(row, None, 1.0, None, None), None)
        return _as_sent(answer)

    def fits(self, row: Row) -> bool:
        """Return whether contract and target accept a row; it is counted if they do not."""
        try:
            self._rules.contract.apply(row.features)
            if row.label is not None:
                self._rules.target.coerce(row.label)
        except (ContractError, TargetError) as error:
            self._refuse(row, str(error))
            return False
        return True

    @property
    def learns_labels(self) -> bool:
        """Return whether the model learns each row once, when its label comes."""
        return not self._rules.learn_from_events and self._stream.task != "anomaly"

    def skips(self, asked: Served | None) -> bool:
        """Return whether an event was refused when it came."""
        return self._asks_first and asked is None

    def learn(self, row: Row, asked: Served | None, times: tuple[int, int] | None, key: str | None) -> bool:
        """Learn a row's label, measure the answers, and return whether that was done. Raises Broken."""
        entry = self.entry(row, asked, times)
        return entry is not None and self.take(row, entry, key)

    def entry(self, row: Row, asked: Served | None, times: tuple[int, int] | None) -> FastExample | None:
        """Return a row as an example of a log; `None`, and counted, if it cannot be learned."""
        label = row.label
        if label is None and self._stream.labels.on_timeout is not None:
            label = self._stream.labels.on_timeout
            self.on_timeout += 1
        if label is None:
            self.unlabelled += 1
            return None
        try:
            # A log holds coerced labels and their weights; a file holds labels in any spelling.
            label = label if row.weight is not None else self._coerced(label)
            weight = self._weight(row, label)
        except (ContractError, TargetError) as error:
            self._refuse(row, str(error))
            return None
        if row.number in self._broken:
            self._refuse(row, f"it broke the model and was left out: {self._broken[row.number]}")
            return None
        return _entry(row, label, weight, asked if self._asks_first else row.served, times)

    def take(self, row: Row, entry: FastExample, key: str | None) -> bool:
        """Learn an example, and return whether it was measured. Raises Broken."""
        if key is not None and self.sliced is not None:
            self.sliced.expect(key)
        try:
            if self.state.take(entry, row.number) in ("learned", "measured"):
                return True
        except Unfit as error:
            self._refuse(row, str(error))
        except Poison as poison:
            raise Broken(self, row.number, poison.reason) from poison
        if key is not None and self.sliced is not None:
            self.sliced.forget()
        return False

    def note(
        self, rows: Sequence[Row], plain: Sequence[Plain], graded: Sequence[Graded], keys: Iterable[str] = ()
    ) -> None:
        """Measure rows that the model has learned as plain examples. Raises Broken."""
        if self.sliced is not None:
            self.sliced.expect(*keys)
        try:
            self.state.note_plain(plain, graded)
        except Poison as poison:
            raise Broken(self, rows[poison.at].number, poison.reason) from poison

    def totals(self) -> list[Totals]:
        """Return the totals of each source so far, in the order of the board's sources."""
        return [totals_of(tallies) for tallies in self.state.board.tallies().values()]

    def _coerced(self, label: LabelValue) -> Scalar:
        key = label.__class__, label
        known = self._labels.get(key)
        if known is None:
            known = self._rules.target.coerce(label)
            if len(self._labels) < _MOST_LABELS:
                self._labels[key] = known
        return known

    def _weight(self, row: Row, label: Any) -> float:
        if row.weight is not None:
            return row.weight
        if self._weigh is None:
            return 1.0
        features = self._rules.contract.apply(row.features)
        try:
            weight = float(self._weigh(features, label))
        except Exception as error:
            raise TargetError(f"its weight cannot be had: {type(error).__name__}: {error}") from error
        if not (math.isfinite(weight) and weight >= 0):
            raise TargetError(f"its weight is {weight}")
        return weight

    def _refuse(self, row: Row, reason: str) -> None:
        self._refused.append((self.step, f"{self._unit} {row.number}", reason))

    def settle(self) -> None:
        """Add the newest refusals to `refused`, in the order of their steps."""
        for _, where, reason in sorted(self._refused, key=itemgetter(0)):
            self.refused.add(where, reason)
        self._refused.clear()
        self.step = 0


def _entry(
    row: Row, label: LabelValue | None, weight: float, served: Served | None, times: tuple[int, int] | None
) -> FastExample:
    value, shares = served or (None, None)
    return FastExample("", row.features, served is not None, value, shares, label, weight, row.correction, _LANE, times)


def _as_sent(answer: Answer) -> Served:
    return wire_value(answer.value), answer.wire_probabilities()
