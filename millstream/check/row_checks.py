"""Checks of the rows of a file against a stream: missing features, numbers that arrive as text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from millstream.check.findings import Finding
from millstream.check.sample_events import Sample, spec_of
from millstream.stream.stream import Stream
from producers.column_statistics import ColumnStatistics
from producers.file_formats import open_source

_ROWS: Final = 10_000
_SHOWN: Final = 5


def look_at_rows(stream: Stream, place: str, sample: Sample) -> Iterator[Finding]:
    """Yield findings on the first rows of a file; `sample` has the rows that the model is tried on."""
    yield from _refused(sample)
    seen: dict[str, ColumnStatistics] = {}
    for row in islice(open_source(place, spec_of(stream, place)).rows(lambda _bad: None), _ROWS):
        for name, value in row.features.items():
            seen.setdefault(name, ColumnStatistics()).add(value)
    yield from _missing(stream, place, seen)
    yield from _hidden_numbers(stream, place, seen)
    yield from _one_label(stream, place, sample)


def _refused(sample: Sample) -> Iterator[Finding]:
    refused, why = sample.refused
    taken = len(sample.examples) + len(sample.unseen)
    if refused > taken:
        text = f"{refused:,} of {refused + taken:,} rows are no events of this stream; the first: {why}"
        yield Finding("error", "events", text)
    elif refused:
        yield Finding("warning", "events", f"{refused} rows are no events of this stream; the first: {why}")


def _missing(stream: Stream, place: str, seen: dict[str, ColumnStatistics]) -> Iterator[Finding]:
    named = stream.contract.features
    missing = [name for name in named if name not in seen or not seen[name].present]
    if not missing:
        return
    shown = ", ".join(map(repr, missing[:_SHOWN])) + (", …" if len(missing) > _SHOWN else "")
    if len(missing) == len(named):
        yield Finding("error", "contract", f"no row of {place} has any of the features: {shown}")
    else:
        yield Finding("warning", "contract", f"no row of {place} has a value for {shown}")


def _hidden_numbers(stream: Stream, place: str, seen: dict[str, ColumnStatistics]) -> Iterator[Finding]:
    """Yield the columns of numbers that the model gets as text: each number would be a word of its own."""
    for name, column in seen.items():
        why = column.hidden_numbers
        if why is None or (stream.contract.features and name not in stream.contract.features):
            continue
        # A number with letters beside it may be a code: the stream file says "string" and may mean it.
        meant = name in stream.contract.features and column.texts.whole_only
        yield Finding(
            "warning" if meant else "error",
            "contract",
            f"{name!r} of {place} holds {why}. The model gets text there: correct the file, or take {name!r} out of "
            "features=",
        )


def _one_label(stream: Stream, place: str, sample: Sample) -> Iterator[Finding]:
    labels = {example.label for example in sample.examples}
    if stream.task in {"binary", "multiclass"} and len(labels) == 1:
        text = f"all {len(sample.examples)} rows of {place} that were tried have the label {next(iter(labels))!r}"
        yield Finding("warning", "events", f"{text}: on them no model has anything to learn")
