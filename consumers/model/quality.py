"""Quality of served answers: each metric over the window, beside the baselines on the same labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

BASELINES: Final = {"last_label": "last label", "frequencies": "class frequencies", "running_mean": "running mean"}
"""Names for people, by source of the evaluation."""
_MOST: Final = 6  # metrics: they ride beside an offset, where there is little room, and users name their own
_LONGEST_NAME: Final = 40


class MetricBeside(msgspec.Struct, frozen=True):
    """One metric of the served answers, and the same of the baselines.

    Attributes
    ----------
    baselines
        By source: ``last_label``, ``frequencies`` or ``running_mean``.
    higher
        True if a higher value is better.
    """

    metric: str
    served: float
    baselines: dict[str, float]
    higher: bool = True

    @property
    def best(self) -> tuple[str, float]:
        """The better baseline: its source and value."""
        choose = max if self.higher else min
        source = choose(self.baselines, key=self.baselines.__getitem__)
        return source, self.baselines[source]

    @property
    def worse(self) -> bool:
        """Whether a baseline is better than the served answers."""
        _, value = self.best
        return self.served < value if self.higher else self.served > value

    def __str__(self) -> str:
        beside = ", ".join(f"{BASELINES.get(source, source)} {value:.4g}" for source, value in self.baselines.items())
        return f"{self.metric} {self.served:.4g} ({beside})"


class Quality(msgspec.Struct, frozen=True):
    """Quality of the served answers over the window.

    Attributes
    ----------
    labels
        Number of served answers in the window that have a label.
    window
        Number of examples that the window holds.
    metrics
        In the order of the stream's metrics; the first one decides.
    """

    labels: int
    window: int
    metrics: tuple[MetricBeside, ...]

    @property
    def worse(self) -> bool | None:
        """Whether the first metric is worse than a baseline; `None` before the window is full of served answers."""
        return None if self.labels < self.window else self.metrics[0].worse

    @property
    def verdict(self) -> str:
        """The first metric against the better baseline, in a few words."""
        metric = self.metrics[0]
        source, value = metric.best
        than = "worse than" if metric.worse else "better than" if metric.served != value else "equal to"
        few = "" if self.worse is not None else f", over {self.labels:,} labels only"
        return f"{metric.metric} {metric.served:.4g} {than} {BASELINES.get(source, source)} {value:.4g}{few}"


def quality(report: Mapping[str, Any]) -> Quality | None:
    """Return the quality in a version's metrics; `None` if nothing can be compared.

    Parameters
    ----------
    report
        As `Board.report` returns it; older versions do not say which direction is better.
    """
    labels, window = report.get("in_window", {}).get("served", 0), report.get("window") or 0
    metrics = tuple(_metrics(report))[:_MOST]
    return Quality(labels, window, metrics) if labels and metrics else None


def _metrics(report: Mapping[str, Any]) -> Iterator[MetricBeside]:
    values = report.get("served", {}).get("last", {})
    for name, higher in report.get("order", ()):
        served = values.get(name)
        beside = {source: report.get(source, {}).get("last", {}).get(name) for source in BASELINES}
        known = {source: _short(value) for source, value in beside.items() if value is not None}
        if served is not None and known:
            yield MetricBeside(name[:_LONGEST_NAME], _short(served), known, higher)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
