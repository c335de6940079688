"""Learning curves as a PNG file, drawn by matplotlib (the extra `plot`)."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from millstream.evaluation.curve_style import Panel, colours, panel
from millstream.evaluation.findings import Findings

_WIDTH: Final = 7.2  # inches, of one metric's panel
_HEIGHT: Final = 3.0
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

    drawn = [(name, found) for name in report.bigger_is_better if (found := panel(report, name)) is not None]
    count = max(1, len(drawn))
    figure = Figure(figsize=(_WIDTH, count * _HEIGHT + 1.0), dpi=_DPI, layout="constrained")
    axes = figure.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
    shade = colours(report)
    for each, (name, found) in zip(axes, drawn, strict=False):
        _draw_panel(each, found, name, shade)
    axes[-1].set_xlabel("rows measured\n(strong: over all rows so far; thin: over the newest tenth)", fontsize=9)
    keys: dict[str, Any] = {}
    for each in axes:
        lines, names = each.get_legend_handles_labels()
        keys |= dict(zip(names, lines, strict=True))
    title = f"{report.on}: {report.measured:,} rows"
    figure.legend(
        list(keys.values()), list(keys), title=title, loc="outside upper center", ncols=3, fontsize=8, frameon=False
    )
    figure.savefig(path, format="png")
    return path


def _draw_panel(axes: Any, found: Panel, name: str, shade: dict[str, str]) -> None:
    for each in found.curves:
        dashes = "-" if each.kind == "model" else "--"
        axes.plot(each.rows, _numbers(each.since_beginning[name]), dashes, color=shade[each.name], label=each.name)
        if each.kind == "model":
            axes.plot(each.rows, _numbers(each.recent[name]), "-", color=shade[each.name], alpha=0.45, linewidth=0.9)
    axes.set_ylim(found.low, found.high)
    axes.set_title(found.title, fontsize=10, loc="left")
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)


def _numbers(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
