"""Text of an evaluation: tables of values, differences and slices, and the remarks to read them by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from millstream.evaluation.findings import Findings, Result, Slice, Verdict
from millstream.evaluation.intervals import Estimate


class Block(NamedTuple):
    """A table with its heading."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Words(NamedTuple):
    """A report in words.

    Attributes
    ----------
    title
        Of the page.
    heading
        One line on what was measured.
    verdicts
        What the figures mean, one line each.
    remarks
        What must be known to read the tables.
    """

    title: str
    heading: str
    verdicts: Sequence[str]
    tables: Sequence[Block]
    remarks: Sequence[str]


def words(report: Findings) -> Words:
    """Return the findings of an evaluation in words."""
    return Words(
        f"Evaluation on {report.on}",
        heading(report),
        list(verdicts(report)),
        list(tables(report)),
        list(remarks(report)),
    )


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
    names, arrows = list(report.bigger_is_better), _arrows(report)
    rows = [[each.name, f"{each.counted:,}", *(shown(each.metrics[name]) for name in names)] for each in report.results]
    yield Block("Metrics, with 95 % intervals", ["", report.unit, *arrows], rows)
    if report.comparisons:
        apart = [
            [
                f"{each.of} − {each.than}",
                *(f"{shown(each.metrics[name], signed=True)}{word(each.verdicts[name])}" for name in names),
            ]
            for each in report.comparisons
        ]
        yield Block(f"Differences on the same {report.unit}", ["", *arrows], apart)
    if report.slices:
        yield sliced(report, report.slices, str(report.by))


def sliced(report: Findings, slices: Sequence[Slice], by: str, *, baselines: bool = True) -> Block:
    """Return the table of the results by slice, with or without the baselines."""
    rows = [
        [each.value, f"{each.counted:,}", result.name, *(number(value) for value in _in_slice(report, each, result))]
        for each in slices
        for result in report.results
        if baselines or result.kind != "baseline"
    ]
    return Block(f"By {by}", [by, report.unit, "", *_arrows(report)], rows)


def _in_slice(report: Findings, each: Slice, result: Result) -> list[float | None]:
    return [each.metrics[result.name].get(name) for name in report.bigger_is_better]


def _arrows(report: Findings) -> list[str]:
    return [f"{name} {'↑' if higher else '↓'}" for name, higher in report.bigger_is_better.items()]


def word(verdict: Verdict) -> str:
    """Return a verdict as it stands behind a value of a table."""
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
    yield intervals(report)


def intervals(report: Findings) -> str:
    """Return how the intervals were computed."""
    if any(each.low is not None for result in report.results for each in result.metrics.values()):
        return (
            f"Intervals: jackknife over {report.blocks} blocks of about {report.block_rows:,} {report.unit} in their "
            "order, as neighbours are alike (docs/evaluate.md)."
        )
    return f"No intervals: they need at least 10 blocks of 8 {report.unit} in which every metric is defined."


def text(said: Words) -> str:
    """Return everything as plain text."""
    lines = [said.heading]
    for block in said.tables:
        widths = [max(map(len, column)) for column in zip(block.columns, *block.rows, strict=True)]
        lines += ["", block.title]
        lines += [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (block.columns, *block.rows)
        ]
    return "\n".join([*lines, "", *said.verdicts, *said.remarks])
