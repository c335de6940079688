"""Rendering of the demo: pure functions from its state to text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from statistics import quantiles
from typing import TYPE_CHECKING, Any, Final

from consumers.roles import JOINER, LEARNER, PREDICTOR
from schemas.duration_text import spoken

if TYPE_CHECKING:
    from rich.console import RenderableType

SOURCES: Final[Mapping[str, str]] = {
    "served": "served",
    "progressive": "progressive",
    "last_label": "baseline: last known label",
    "frequencies": "baseline: class frequencies",
    "running_mean": "baseline: running mean",
}


_BAR: Final = 76


@dataclass(frozen=True)
class Scene:
    """State of a demo at one time.

    Attributes
    ----------
    seconds
        Seconds since the first event was sent.
    metrics
        The newest version's metrics, as in its manifest.
    lag
        Lag of each role.
    delay_ms
        Time from label to serving, for the newest version.
    """

    stream: str
    seconds: float
    total: int
    events: int
    predictions: int
    joined: int
    learned: int
    version: str | None
    versions: int
    delay_ms: int | None
    lag: Mapping[str, int]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def table_of(metrics: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[float | None]]]]:
    """Return the metric names, and for each source its caption and its values over all examples.

    >>> table_of({"served": {"all": {"F1": 0.5}, "last": {}}})
    (['F1'], [('served', [0.5])])
    """
    found = [(label, metrics[source]["all"]) for source, label in SOURCES.items() if source in metrics]
    names = list(dict.fromkeys(name for _, values in found for name in values))
    return names, [(label, [values.get(name) for name in names]) for label, values in found]


def line(scene: Scene) -> str:
    """Return a scene as one line, for output that is not a terminal."""
    parts = [
        f"{scene.seconds:5.1f} s",
        f"{scene.events:,} of {scene.total:,} events",
        f"{scene.predictions:,} predictions",
        f"{scene.learned:,} learned",
        f"version {scene.version or 'none yet'}",
    ]
    if scene.delay_ms is not None:
        parts.append(f"label to served {spoken(scene.delay_ms)}")
    names, rows = table_of(scene.metrics)
    for index, name in enumerate(names[:1]):
        values = [f"{label.removeprefix('baseline: ')} {_number(found[index])}" for label, found in rows]
        parts.append(f"{name}: {', '.join(value for value in values if not value.startswith('progressive'))}")
    parts.append("lag " + "/".join(str(scene.lag.get(role, 0)) for role in (PREDICTOR, JOINER, LEARNER)))
    return " | ".join(parts)


def picture(scene: Scene) -> str:
    """Return the picture of the loop, with its numbers."""
    predictor, joiner, learner = (f"lag {scene.lag.get(role, 0):,}" for role in (PREDICTOR, JOINER, LEARNER))
    version = f" version {scene.version or 'none yet'} "
    back = f"└{version:─^50}◀┘"
    return "\n".join(
        (
            "features ─▶ predictors ─▶ predictions ─┐",
            f"{scene.events:<12,}{predictor:<14}{scene.predictions:<13,}├─▶ joiner ──▶ examples ─▶ learner",
            f"{'▲':>18}        labels ──────┘   {joiner:<11}{scene.joined:<12,}{learner}",
            f"{'':17}{back}",
        )
    )


def live(scene: Scene) -> RenderableType:
    """Return a scene for a terminal."""
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    names, rows = table_of(scene.metrics)
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("", *names):
        table.add_column(name, justify="left" if not name else "right")
    for label, values in rows:
        table.add_row(Text(label), *(_number(value) for value in values), style="bold" if label == "served" else None)
    delay = "–" if scene.delay_ms is None else spoken(scene.delay_ms)
    facts = Text(
        f"{scene.seconds:.0f} s   {scene.events:,} of {scene.total:,} events   "
        f"version {scene.version or 'none yet'} ({scene.versions} so far)\n"
        f"label to served {delay}   {scene.note}"
    )
    done = min(_BAR, _BAR * scene.events // max(1, scene.total))
    bar = Text.assemble(("━" * done, "green"), ("━" * (_BAR - done), "dim"))
    # A wrapped line would break the picture, so a narrow terminal cuts its right edge.
    drawn = Text(picture(scene), no_wrap=True, overflow="ellipsis")
    parts: list[RenderableType] = [drawn, Text(), bar, facts, *([table] if rows else [])]
    return Panel(Group(*parts), title=f"millstream demo {scene.stream}", title_align="left", expand=False)


def summary(
    scene: Scene, delays: Sequence[int], labels: Mapping[str, int], ready_s: float, first_s: float | None, rate: float
) -> dict[str, Any]:
    """Return the results with unrounded numbers, as `--json` prints them."""
    cuts = quantiles(delays, n=20, method="inclusive") if len(delays) > 1 else list(delays)
    return {
        "stream": scene.stream,
        "events": scene.events,
        "predictions": scene.predictions,
        "labels": dict(labels),
        "examples": scene.joined,
        "learned": scene.learned,
        "version": scene.version,
        "versions": scene.versions,
        "metrics": dict(scene.metrics),
        "label_to_served_ms": {
            "median": cuts[len(cuts) // 2] if cuts else None,
            "p95": cuts[-1] if cuts else None,
            "swaps": len(delays),
        },
        "events_per_second": rate,
        "ready_seconds": ready_s,
        "first_prediction_seconds": first_s,
        "seconds": scene.seconds,
    }


def closing_words(found: Mapping[str, Any], stream: str, source: str, stop: str | None) -> str:
    """Return the results and the next steps, as text."""
    delay = found["label_to_served_ms"]
    rows = [
        ("events", f"{found['events']:,}"),
        ("predictions", f"{found['predictions']:,}"),
        ("labels joined", f"{found['labels']['joined']:,}"),
        ("examples learned", f"{found['learned']:,}"),
        ("versions", f"{found['versions']:,}, the newest {found['version']}"),
    ]
    if delay["median"] is not None:
        words = f"median {spoken(delay['median'])}, p95 {spoken(delay['p95'])} over {delay['swaps']} swaps"
        rows.append(("label to served", words))
    rows.append(("took", f"{found['seconds']:.1f} s at {found['events_per_second']:.0f} events a second"))
    width = max(len(name) for name, _ in rows)
    lines = ["", *(f"  {name:<{width}}  {value}" for name, value in rows), ""]
    names, values = table_of(found["metrics"])
    if names:
        wide = max(len(label) for label, _ in values)
        lines.append("  " + " " * wide + "".join(f"{name:>12}" for name in names))
        lines += [
            f"  {label:<{wide}}" + "".join(f"{_number(each):>12}" for each in each_row) for label, each_row in values
        ]
    lines += ["", "Everything is still there. Look at it:", ""]
    lines += [f"  millstream {command}" for command in _next(stream, source)]
    if stop:
        lines += ["", f"The broker goes on running; `{stop}` stops it, what it holds stays."]
    return "\n".join(lines)


def _next(stream: str, source: str) -> Sequence[str]:
    return (
        f"status {stream}",
        f"examples {stream}",
        f"predictions {stream} --json --limit 3",
        f"models list {stream}",
        f"run {stream} --predictors 2    # and, beside it:",
        f"publish {stream} {source} --rate 100 --label-delay 50",
    )


def _number(value: float | None) -> str:
    return "–" if value is None or isnan(value) else f"{value:.4f}"
