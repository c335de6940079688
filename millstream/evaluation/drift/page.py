"""HTML page of drift that needs nothing beside it: no script, no font, no other file."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Final

from millstream.evaluation.drift.pictures import distribution, time_line
from millstream.evaluation.drift.report import DriftReport
from millstream.evaluation.output_file import write_whole
from millstream.evaluation.page import STYLE, document, table
from schemas.profiles import Profile

_MOST: Final = 60
"""Values with pictures on one page, those with findings first."""

_STYLE: Final = """
.ms .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 1.5rem; }
.ms .pair .wide svg { min-width: 20rem; }
.ms svg .before { stroke: var(--soft); stroke-width: 2; } .ms svg rect.before { fill: var(--soft); stroke: none; }
.ms svg .now { stroke: #0072b2; stroke-width: 2; } .ms svg rect.now { fill: #0072b2; stroke: none; }
.ms svg .band { fill: #0072b2; opacity: .18; } .ms svg .shade { fill: var(--line); opacity: .45; }
.ms svg .since { stroke: #d55e00; stroke-width: 2; stroke-dasharray: 5 4; }
.ms .found { color: #b34700; }
@media (prefers-color-scheme: dark) {
  .ms svg .now { stroke: #56b4e9; } .ms svg rect.now { fill: #56b4e9; } .ms svg .band { fill: #56b4e9; }
  .ms .found { color: #ff9d5c; }
}
"""
_KEYS: Final = (
    '<p class="soft">Grey: the reference (shaded in the pictures over time). Blue: now. '
    "Dashed: since when it has drifted.</p>"
)


def write_page(report: DriftReport, path: Path) -> None:
    """Write the page. Raises NotWritten."""
    write_whole(path, page(report).encode())


def page(report: DriftReport) -> str:
    """Return the page."""
    said = report.words()
    parts = [f"<style>{STYLE}{_STYLE}</style>", f"<h1>{escape(said.heading)}</h1>"]
    parts += [f"<p>{escape(line)}</p>" for line in said.verdicts]
    parts += [table(block) for block in said.tables]
    parts.append(f"<h2>Pictures</h2>{_KEYS}")
    parts += [_pictures(report, name) for name in report.subjects[:_MOST]]
    if len(report.subjects) > _MOST:
        parts.append(f'<p class="soft">{len(report.subjects) - _MOST} more values have no picture here: --feature</p>')
    parts.append("<h2>To read this</h2>")
    parts += [f'<p class="soft">{escape(line)}</p>' for line in said.remarks]
    return document(said.title, '<div class="ms">' + "\n".join(parts) + "</div>")


def _pictures(report: DriftReport, name: str) -> str:
    there = report.collected
    found = [each for each in report.findings if each.subject == name]
    since = min((each.since_ms for each in found), default=None)
    lines = "".join(f'<p class="found">{escape(each.text)}</p>' for each in found)
    reference = there.reference_from_ms, there.reference_to_ms
    shown = (
        distribution(name, there.reference.get(name), there.now.get(name)),
        time_line(name, list(_parts(report, name)), reference, since),
    )
    pictures = "".join(f"<div>{each}</div>" for each in shown if each)
    return f'<h2>{escape(name)}</h2>{lines}<div class="pair">{pictures}</div>'


def _parts(report: DriftReport, name: str) -> Iterator[tuple[int, int, Profile]]:
    for window in report.collected.windows:
        if name in window.profiles:
            yield window.start, window.start + window.span, window.profiles[name]
