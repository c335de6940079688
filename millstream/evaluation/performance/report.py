"""Report on what was served: metrics beside both baselines, by group, with coverage and calibration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from consumers.model.quality import BASELINES
from millstream.evaluation.intervals import Estimate
from millstream.evaluation.report import Shown
from millstream.evaluation.text import Block, Words, intervals, number, shown, tables, verdicts
from millstream.reading.timestamps import utc
from schemas.duration_text import spoken

SERVED: Final = "as served"
_WINDOW: Final = "window"


class Coverage(msgspec.Struct, frozen=True):
    """Number of answered predictions of a stretch of time, and of those that have a label by now."""

    predictions: int
    labelled: int

    @property
    def share(self) -> float | None:
        """Return the labelled share; `None` without predictions."""
        return self.labelled / self.predictions if self.predictions else None

    def __str__(self) -> str:
        share = self.share
        return "–" if share is None else f"{100 * share:.1f} %"


class Group(msgspec.Struct, frozen=True):
    """Metrics of every result over one group of labelled answers.

    Attributes
    ----------
    coverage
        Of the predictions made in a window; `None` for other groups.
    pending
        True if labels of these predictions may still come.
    """

    value: str
    labels: int
    metrics: dict[str, dict[str, Estimate]]
    coverage: Coverage | None = None
    pending: bool = False


class Bin(msgspec.Struct, frozen=True):
    """Answers whose score lies in a tenth of 0 to 1: their number, mean score, and how often the answer was right.

    The score is the probability of True, or of the predicted class.
    """

    count: int
    score: float
    right: float


class PerformanceReport(Shown, frozen=True, kw_only=True):
    """Metrics of served answers, from the windows of the monitor.

    Attributes
    ----------
    from_ms, to_ms
        Broker's times between which the labels came.
    wait_ms
        How long a prediction waits for its label.
    """

    from_ms: int
    to_ms: int
    coverage: Coverage
    wait_ms: int
    groups: list[Group]
    calibration: list[Bin]

    @property
    def unit(self) -> str:
        return "labels"

    @property
    def curves_title(self) -> str:
        return "Over time"

    def words(self) -> Words:
        return Words(
            f"Performance of {self.on}", self._heading(), list(verdicts(self)), self._tables(), self._remarks()
        )

    def _heading(self) -> str:
        times = f"{utc(self.from_ms)} to {utc(self.to_ms)} UTC"
        said = f"{self.on}: served answers whose {self.measured:,} labels came {times}"
        if self.coverage.predictions:
            said += f"; {self.coverage} of the {self.coverage.predictions:,} predictions of that time have a label"
        return said

    def _tables(self) -> list[Block]:
        blocks = list(tables(self))
        if self.groups:
            blocks.append(self._by())
        if self.calibration:
            blocks.append(self._calibrated())
        return blocks

    def _by(self) -> Block:
        windows = self.by == _WINDOW
        arrows = [f"{name} {'↑' if higher else '↓'}" for name, higher in self.bigger_is_better.items()]
        rows = []
        for each in self.groups:
            for result in self.results:
                first = result is self.results[0]
                values = [shown(each.metrics[result.name].get(name, Estimate(None))) for name in self.bigger_is_better]
                labelled = self._covered(each) if first else ""
                rows.append(
                    [
                        each.value if first else "",
                        f"{each.labels:,}" if first else "",
                        *([labelled] if windows else []),
                        result.name,
                        *values,
                    ]
                )
        named = f"{self.by} (UTC)" if windows else str(self.by)
        columns = [named, "labels", *(["labelled"] if windows else []), "", *arrows]
        return Block(f"By {self.by}", columns, rows)

    @staticmethod
    def _covered(group: Group) -> str:
        return "" if group.coverage is None else f"{group.coverage}{' so far' if group.pending else ''}"

    def _calibrated(self) -> Block:
        rows = [
            [f"{at / 10:.1f} to {(at + 1) / 10:.1f}", f"{each.count:,}", number(each.score), number(each.right)]
            for at, each in enumerate(self.calibration)
            if each.count
        ]
        return Block("Calibration", ["score", "answers", "mean score", "observed share"], rows)

    def _remarks(self) -> list[str]:
        return [*self._notes(), intervals(self)]

    def _notes(self) -> Iterator[str]:
        yield from (f"note: {note}" for note in self.notes)
        if any(each.pending for each in self.groups):
            yield f"so far: predictions wait {spoken(self.wait_ms)} for a label, so more labels of this window may come"
        shown_names = {each.name for each in self.results}
        names = " and ".join(name for name in BASELINES.values() if name in shown_names)
        if names:
            yield f"the baselines ({names}) know the labels that had come when each prediction was made"
