"""Text of an evaluation: tables of values, differences and slices, and the remarks to read them by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from millstream.evaluation.findings import Findings
from millstream.evaluation.intervals import Estimate


class Block(NamedTuple):
    """A table with its heading."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def number(value: float | None, scale: float | None = None) -> str:
    """Return a value for reading; `–` if it was not measured.

    Parameters
    ----------
    scale
        A number that has as many digits after the point.

    >>> number(0.912345), number(1234.5678), number(None), number(0.5, scale=16.73)
    ('0.9123', '1,234.6', '–', '0.50')
    """
    if value is None:
        return "–"
    size = abs(value if scale is None else scale)
    return f"{value:,.{4 if size < 10 else 2 if size < 1000 else 1}f}"


def shown(estimate: Estimate, *, signed: bool = False) -> str:
    """Return a value with half the width of its interval.

    >>> shown(Estimate(0.5, 0.4, 0.6)), shown(Estimate(0.5, 0.4, 0.6), signed=True), shown(Estimate(0.5))
    ('0.5000 ± 0.1000', '+0.5000 ± 0.1000', '0.5000')
    """
    if estimate.value is None:
        return "–"
    sign = "+" if signed and estimate.value > 0 else ""
    half = "" if estimate.high is None else f" ± {number(estimate.high - estimate.value, estimate.value)}"
    return f"{sign}{number(estimate.value)}{half}"


def heading(report: Findings) -> str:
    """Return the first line: how many rows of which data, and when labels came."""
    read = f"{report.measured:,} of {report.rows:,} rows" if report.measured != report.rows else f"{report.rows:,} rows"
    if report.label_delay is None:
        when = "each row is predicted, then learned"
    else:
        unit = " events" if report.label_delay.isdigit() else ""
        when = f"labels come {report.label_delay}{unit} late"
    return f"{report.on}: {read} measured; {when}"


def tables(report: Findings) -> Iterator[Block]:
    """Yield the tables."""
    names = list(report.bigger_is_better)
    arrows = [f"{name} {'↑' if report.bigger_is_better[name] else '↓'}" for name in names]
    rows = [[each.name, f"{each.counted:,}", *(shown(each.metrics[name]) for name in names)] for each in report.results]
    yield Block("Metrics, with 95 % intervals", ["", "rows", *arrows], rows)
    if report.comparisons:
        apart = [
            [
                f"{each.of} − {each.than}",
                *(f"{shown(each.metrics[name], signed=True)}{_word(each.verdicts[name])}" for name in names),
            ]
            for each in report.comparisons
        ]
        yield Block("Differences on the same rows", ["", *arrows], apart)
    if report.slices:
        sliced = [
            [each.value, f"{each.counted:,}", result.name, *(number(each.metrics[result.name].get(n)) for n in names)]
            for each in report.slices
            for result in report.results
        ]
        yield Block(f"By {report.by}", [str(report.by), "rows", "", *arrows], sliced)


def _word(verdict: str) -> str:
    return {"better": " better", "worse": " worse", "no clear difference": " unclear"}.get(verdict, "")


def verdicts(report: Findings) -> Iterator[str]:
    """Yield one line for each comparison, in words."""
    for each in report.comparisons:
        parts = []
        for word in ("better", "worse", "no clear difference"):
            names = [name for name, verdict in each.verdicts.items() if verdict == word]
            if names:
                parts.append(f"{word} in {', '.join(names)}")
        if parts:
            yield f"{each.of} against {each.than}: {'; '.join(parts)}"


def remarks(report: Findings) -> Iterator[str]:
    """Yield what must be known to read the tables: refused rows, notes, the intervals."""
    for refused in report.refused:
        who = "" if refused.model is None else f" by {refused.model}"
        rows = "1 row was" if refused.count == 1 else f"{refused.count:,} rows were"
        yield f"{rows} refused{who}; the first:"
        yield from (f"  {where}: {reason}" for where, reason in refused.first.items())
    yield from (f"note: {note}" for note in report.notes)
    if any(each.low is not None for result in report.results for each in result.metrics.values()):
        yield (
            f"Intervals: jackknife over {report.blocks} blocks of about {report.block_rows:,} rows in their order, as "
            "neighbours are alike (docs/evaluate.md)."
        )
    else:
        yield "No intervals: they need at least 10 blocks of 8 rows in which every metric is defined."


def text(report: Findings) -> str:
    """Return everything as plain text."""
    lines = [heading(report)]
    for block in tables(report):
        widths = [max(map(len, column)) for column in zip(block.columns, *block.rows, strict=True)]
        lines += ["", block.title]
        lines += [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (block.columns, *block.rows)
        ]
    return "\n".join([*lines, "", *verdicts(report), *remarks(report)])
