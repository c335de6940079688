"""HTML page of an evaluation that needs nothing beside it: no script, no font, no other file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Final

from millstream.evaluation.curve_style import colours, panel
from millstream.evaluation.findings import Curve, Findings
from millstream.evaluation.text import Block, Words

STYLE: Final = """
.ms { color-scheme: light dark; --ink: #1c1917; --paper: #ffffff; --line: #d6d3d1; --soft: #57534e;
  font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); padding: 1.5rem;
  max-width: 72rem; margin: 0 auto; box-sizing: border-box; overflow-wrap: anywhere; }
.ms h1 { font-size: 1.25rem; } .ms h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.ms .wide { overflow-x: auto; }
.ms table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
.ms th, .ms td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line);
  white-space: nowrap; background: var(--paper); color: inherit; }
.ms th:first-child, .ms td:first-child { min-width: 9rem; max-width: 24rem; white-space: normal;
  overflow-wrap: break-word; position: sticky; left: 0; }
.ms th { font-weight: 600; } .ms .soft { color: var(--soft); font-size: .88rem; }
.ms .wide svg { width: 100%; min-width: 30rem; height: auto; display: block; }
.ms svg text { fill: var(--soft); font-size: 12px; } .ms svg .recent { opacity: .45; }
.ms svg .grid { stroke: var(--line); stroke-width: 1; } .ms .key { display: inline-block; margin-right: 1.2rem; }
.ms .key svg { display: inline-block; width: 26px; height: 8px; vertical-align: middle; margin-right: .35rem; }
@media (prefers-color-scheme: dark) {
  .ms { --ink: #e7e5e4; --paper: #1c1917; --line: #44403c; --soft: #a8a29e; }
  .ms svg polyline { filter: brightness(1.35); } .ms svg .recent { opacity: .65; }
}
@media (max-width: 40rem) {
  .ms { padding: 1rem; } .ms .wide { padding-top: .4rem; } .ms .wide svg { min-width: 0; overflow: visible; }
  .ms svg text { font-size: 27px; }
  .ms th { white-space: normal; overflow-wrap: normal; vertical-align: bottom; }
  .ms th, .ms td { padding-right: .6rem; }
  .ms th:first-child, .ms td:first-child { min-width: 5.5rem; max-width: 8rem; }
}
"""
_OUTSIDE: Final = (
    "<style>body { margin: 0; } @media (prefers-color-scheme: dark) { body { background: #1c1917; } }</style>"
)
_WIDTH, _HEIGHT = 900, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 12, 10, 28
_TICKS: Final = 5
_EDGE: Final = 30
_Place = Callable[[int, float], tuple[float, float]]


def page(report: Findings, said: Words) -> str:
    """Return the page."""
    return document(said.title, body(report, said))


def document(title: str, content: str) -> str:
    """Return a whole document for the contents of a page."""
    named = f"<title>{escape(title)}</title>"
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">{named}{_OUTSIDE}'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>{content}</body></html>\n'


def body(report: Findings, said: Words) -> str:
    """Return the contents of the page, as a notebook shows them."""
    parts = [f"<style>{STYLE}</style>", f"<h1>{escape(said.heading)}</h1>"]
    parts += [f"<p>{escape(line)}</p>" for line in said.verdicts]
    parts += [table(block) for block in said.tables]
    if report.curves:
        parts.append(f"<h2>{report.curves_title}</h2>")
        parts.append(_legend(report))
        parts += [_chart(report, name) for name in report.bigger_is_better]
    parts.append("<h2>To read this</h2>")
    parts += [f'<p class="soft">{escape(line.strip())}</p>' for line in said.remarks]
    return '<div class="ms">' + "\n".join(parts) + "</div>"


def table(block: Block) -> str:
    """Return a table with its heading."""
    head = "".join(f"<th>{escape(name)}</th>" for name in block.columns)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in block.rows)
    return f"<h2>{escape(block.title)}</h2>\n{_wide(block.title)}<table><tr>{head}</tr>{rows}</table></div>"


def _wide(label: str) -> str:
    """Return the beginning of what scrolls by itself where the screen is narrow, by the keyboard too."""
    return f'<div class="wide" tabindex="0" role="region" aria-label="{escape(label)}">'


def _legend(report: Findings) -> str:
    shade = colours(report)
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 26 8">{_line([(0, 4), (26, 4)], shade[each.name], _dash(each))}</svg>'
        f"{escape(each.name)}</span>"
        for each in report.curves
    )
    note = f"Strong lines: over all {report.unit} so far. Thin lines: over the newest tenth of the {report.unit}."
    return f'<p>{keys}</p><p class="soft">{note}</p>'


def _chart(report: Findings, name: str) -> str:
    found = panel(report, name)
    if found is None:
        return f'<h2>{escape(name)}</h2><p class="soft">This metric has a value only over all {report.unit}.</p>'
    shade = colours(report)
    low, high = found.low, found.high
    last = max(each.rows[-1] for each in found.curves)

    def place(row: int, value: float) -> tuple[float, float]:
        across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * row / last
        shown = min(max(value, low), high)
        return round(across, 1), round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - shown) / (high - low), 1)

    parts = list(_axes(low, high, last))
    for each in found.curves:
        if each.kind == "model":
            parts += _lines(each.rows, each.recent[name], place, shade[each.name], 'class="recent" stroke-width="1"')
        parts += _lines(each.rows, each.since_beginning[name], place, shade[each.name], _dash(each))
    size = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    picture = f'<svg {size} role="img" aria-label="{escape(name)}">'
    return f"<h2>{escape(found.title)}</h2>{_wide(found.title)}{picture}{''.join(parts)}</svg></div>"


def _axes(low: float, high: float, last: int) -> Iterator[str]:
    step = _nice((high - low) / _TICKS)
    value = math.ceil(low / step) * step
    digits = max(0, -math.floor(math.log10(step)))
    while value <= high:
        down = round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low), 1)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{down}" y2="{down}"/>'
        yield f'<text x="{_LEFT - 8}" y="{down + 4}" text-anchor="end">{value:,.{digits}f}</text>'
        value += step
    across = _nice(last / _TICKS)
    row = 0.0
    while row <= last:
        at = _LEFT + (_WIDTH - _LEFT - _RIGHT) * row / last
        # A number in the middle below the right edge would be cut off.
        anchor = "end" if at > _WIDTH - _RIGHT - _EDGE else "middle"
        yield f'<text x="{at:.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{row:,.0f}</text>'
        row += across


def _nice(step: float) -> float:
    """Return the next larger step of 1, 2 or 5 times a power of ten.

    >>> _nice(0.013), _nice(31)
    (0.02, 50.0)
    """
    power = 10.0 ** math.floor(math.log10(step))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= step)


def _lines(
    rows: Sequence[int], values: Sequence[float | None], place: _Place, colour: str, style: str
) -> Iterator[str]:
    """Yield a line for each stretch of rows with values."""
    stretch: list[tuple[float, float]] = []
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            stretch.append(place(row, value))
        elif stretch:
            yield _line(stretch, colour, style)
            stretch = []
    if stretch:
        yield _line(stretch, colour, style)


def _line(points: Sequence[tuple[float, float]], colour: str, style: str) -> str:
    text = " ".join(f"{across:g},{down:g}" for across, down in points)
    return f'<polyline fill="none" stroke="{colour}" {style} points="{text}"/>'


def _dash(curve: Curve) -> str:
    return 'stroke-width="2"' if curve.kind == "model" else 'stroke-width="1.5" stroke-dasharray="5 4"'
