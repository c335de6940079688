"""Learning curves as a PNG file, drawn by matplotlib (the extra `plot`)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from millstream.evaluation.colours import colours
from millstream.evaluation.findings import Findings

_WIDTH: Final = 7.2  # inches, of one metric's panel
_HEIGHT: Final = 3.6
_DPI: Final = 120


class NoLibrary(Exception):  # noqa: N818
    """matplotlib is not installed."""


def require_library() -> None:
    """Raise NoLibrary if matplotlib is missing, before anything is computed."""
    if find_spec("matplotlib") is None:
        raise NoLibrary(
            "--png needs matplotlib: pip install 'millstream[plot]' (--html draws the same curves without it)"
        )


def draw(report: Findings, path: Path) -> Path:
    """Draw a panel for each metric. Raises NoLibrary."""
    require_library()
    from matplotlib.figure import Figure

    names = [
        name for name in report.bigger_is_better if any(_known(each.since_beginning[name]) for each in report.curves)
    ]
    figure = Figure(figsize=(_WIDTH, max(1, len(names)) * _HEIGHT + 0.5), dpi=_DPI, layout="constrained")
    figure.suptitle(f"{report.on}: {report.measured:,} rows", fontsize=11)
    panels = figure.subplots(max(1, len(names)), 1, squeeze=False, sharex=True)[:, 0]
    shade = colours(report)
    for panel, name in zip(panels, names, strict=False):
        _panel(panel, report, name, shade)
    panels[-1].set_xlabel("rows measured")
    figure.savefig(path, format="png")
    return path


def _panel(panel: Any, report: Findings, name: str, shade: dict[str, str]) -> None:
    for each in report.curves:
        dashes = "-" if each.kind == "model" else "--"
        panel.plot(each.rows, _numbers(each.since_beginning[name]), dashes, color=shade[each.name], label=each.name)
        if each.kind == "model":
            panel.plot(each.rows, _numbers(each.recent[name]), "-", color=shade[each.name], alpha=0.35, linewidth=0.9)
    better = "higher is better" if report.bigger_is_better[name] else "lower is better"
    panel.set_title(f"{name} ({better})", fontsize=10, loc="left")
    panel.grid(alpha=0.25)
    panel.xaxis.set_major_formatter("{x:,.0f}")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False)


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _known(values: list[float | None]) -> bool:
    return any(value is not None for value in values)
