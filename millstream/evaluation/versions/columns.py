"""Answers of one version along a range of the log: its metrics, its losses, its slices."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from consumers.model.evaluation import Board
from consumers.model.evaluation import Row as MeasuredRow
from consumers.model.metric_totals import Totals, totals_of, values_of
from consumers.model.river_model import NO_ANSWER
from consumers.referee.losses import Loss
from millstream.evaluation.blocks import Blocks
from millstream.evaluation.compare.report import LOSS
from millstream.evaluation.compare.results import mean_loss, with_losses
from millstream.evaluation.findings import Kind
from millstream.evaluation.intervals import Values
from millstream.evaluation.lines import Line
from millstream.evaluation.rows import Served
from millstream.evaluation.sliced import Sliced
from schemas.events import Scalar
from schemas.target import Task

Metrics = Callable[[], list[Any]]
FAILED: Served = (None, None)
"""Stands for an answer that a model owes: it costs the most that the loss can be."""


class Column:
    """Answers to the same examples as those of the other columns, in the same order.

    Parameters
    ----------
    loss
        `None` if the stream has none.
    sliced
        True if the examples are in slices, which `add` is given.
    """

    def __init__(self, task: Task, metrics: Metrics, loss: Loss | None, *, sliced: bool) -> None:
        self._metrics = metrics
        self._loss = loss
        self.board = Board(task, metrics, window=1)
        self.losses = array("d")
        self.keys: list[str] = []
        self.blocks: Blocks[dict[str, Totals]] = Blocks(self._totals)
        self.sliced: Sliced | None = None
        if sliced:
            self.sliced = Sliced(metrics, len(self.board.sources), takes_scores=task == "anomaly")
            self.board.watch = self._watch(self.sliced)

    @staticmethod
    def _watch(sliced: Sliced) -> Callable[[Sequence[MeasuredRow]], None]:
        return sliced.count

    def __len__(self) -> int:
        return len(self.losses)

    def add(self, truth: Scalar, said: Served | None, times: tuple[int, int] | None, key: str | None = None) -> None:
        """Add an answer; `None` if nobody was asked."""
        if self.sliced is not None and key is not None:
            self.sliced.expect(key)
            self.keys.append(key)
        self.board.add(truth, NO_ANSWER, said, times)
        if self._loss is None or said is None:
            self.losses.append(math.nan)
        else:
            self.losses.append(self._loss(truth, *said, True if said == FAILED else None))
        self.blocks.note(len(self.losses))

    def finish(self) -> None:
        """Close the last block."""
        self.blocks.finish(len(self.losses))

    def line(self, name: str, kind: Kind, source: str = "served") -> Line:
        """Return the metrics of a source of its board, with intervals."""
        known = self.board.report()
        states = [state[source] for state in self.blocks.states]
        whole: Values = known[source]["all"]
        if self._loss is not None and source == "served":
            states = with_losses(states, self.blocks.ends, np.array(self.losses))
            whole = {LOSS: mean_loss(states[-1])} | whole
        elif self._loss is not None:
            no_loss: Values = {LOSS: None}  # a baseline's
            whole = no_loss | whole
        counted = known["counted"][source]
        return Line.make(
            name, kind, name if kind == "model" else None, counted, states, of=self._values_of, whole=whole
        )

    def loss_by_slice(self) -> dict[str, float | None]:
        """Return the mean loss of each slice."""
        keys, losses = np.array(self.keys), np.array(self.losses)
        found: dict[str, float | None] = {}
        for key in dict.fromkeys(self.keys):
            known = losses[keys == key]
            known = known[~np.isnan(known)]
            found[key] = float(known.mean()) if len(known) else None
        return found

    def _totals(self) -> dict[str, Totals]:
        return {source: totals_of(tallies) for source, tallies in self.board.tallies().items()}

    def _values_of(self, totals: Mapping[tuple[Any, ...], float]) -> Values:
        values = values_of(self._metrics(), totals)
        return values if self._loss is None else {LOSS: mean_loss(totals)} | values
