"""Learning curves as a PNG file, drawn by matplotlib (the extra `plot`)."""

from __future__ import annotations

import io
import math
from importlib.util import find_spec
from textwrap import wrap
from typing import Any, Final

from millstream.evaluation.curve_style import Panel, colours, panel
from millstream.evaluation.findings import Findings

_WIDTH: Final = 7.2  # inches, of one metric's panel
_HEIGHT: Final = 3.0
_DPI: Final = 120
_LINE_LETTERS: Final = 95  # that fit into the legend's width
_KEY_LETTERS: Final = 8  # as wide as the line before a name, and the space between two columns
_MOST_COLUMNS: Final = 3


class NoLibrary(Exception):  # noqa: N818
    """matplotlib is not installed."""


def require_library() -> None:
    """Raise NoLibrary if matplotlib is missing, before anything is computed."""
    if find_spec("matplotlib") is None:
        raise NoLibrary(
            "--png needs matplotlib: pip install 'millstream[plot]' (--html draws the same curves without it)"
        )


def draw(report: Findings) -> bytes:
    """Return a PNG picture with a panel for each metric. Raises NoLibrary."""
    require_library()
    from matplotlib.figure import Figure

    drawn = [(name, found) for name in report.bigger_is_better if (found := panel(report, name)) is not None]
    count = max(1, len(drawn))
    figure = Figure(figsize=(_WIDTH, count * _HEIGHT + 1.0), dpi=_DPI, layout="constrained")
    axes = figure.subplots(count, 1, squeeze=False, sharex=True)[:, 0]
    shade = colours(report)
    lines: dict[str, Any] = {}
    for each, (name, found) in zip(axes, drawn, strict=False):
        lines |= _draw_panel(each, found, name, shade)
    axes[-1].set_xlabel(
        f"{report.unit} measured\n(strong: over all {report.unit} so far; thin: over the newest tenth)", fontsize=9
    )
    columns = max(1, min(_MOST_COLUMNS, _LINE_LETTERS // (_KEY_LETTERS + max(map(len, lines), default=0))))
    figure.legend(
        list(lines.values()),
        [_plain(name) for name in lines],
        title=_plain(f"{report.on}: {report.measured:,} {report.unit}"),
        loc="outside upper center",
        ncols=columns,
        fontsize=8,
        frameon=False,
    )
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _draw_panel(axes: Any, found: Panel, name: str, shade: dict[str, str]) -> dict[str, Any]:
    """Draw one metric and return the line of each result."""
    lines = {}
    for each in found.curves:
        dashes = "-" if each.kind == "model" else "--"
        (lines[each.name],) = axes.plot(each.rows, _numbers(each.since_beginning[name]), dashes, color=shade[each.name])
        if each.kind == "model":
            axes.plot(each.rows, _numbers(each.recent[name]), "-", color=shade[each.name], alpha=0.45, linewidth=0.9)
    axes.set_ylim(found.low, found.high)
    axes.set_title(_plain(found.title), fontsize=10, loc="left")
    axes.grid(alpha=0.25)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    return lines


def _plain(text: str) -> str:
    """Return a text in lines that fit; matplotlib would read a formula between dollars and hide a leading `_`."""
    return "\n".join(f" {line}" if line.startswith("_") else line for line in wrap(text, _LINE_LETTERS)).replace(
        "$", r"\$"
    )


def _numbers(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]
