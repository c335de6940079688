"""Findings of an evaluation, as plain values: what JSON, the tables, the pictures and notebooks show."""

from __future__ import annotations

from typing import Literal

import msgspec

from millstream.evaluation.intervals import Estimate

Kind = Literal["model", "baseline", "live"]
Verdict = Literal["better", "worse", "no clear difference", "unknown"]


class Result(msgspec.Struct, frozen=True):
    """Metrics of one model, or of a baseline, over all rows.

    Attributes
    ----------
    name
        Unique in the report, such as ``elec2, delayed`` or ``last label``.
    model
        Name of the model; `None` for a baseline.
    counted
        Number of rows with an answer.
    """

    name: str
    kind: Kind
    model: str | None
    counted: int
    metrics: dict[str, Estimate]


class Difference(msgspec.Struct, frozen=True):
    """Differences of two results on the same rows, `of` minus `than`, and what they mean by metric."""

    of: str
    than: str
    metrics: dict[str, Estimate]
    verdicts: dict[str, Verdict]


class Curve(msgspec.Struct, frozen=True):
    """Learning curve of one result.

    Attributes
    ----------
    rows
        Numbers of measured rows.
    since_beginning, recent
        Values by metric: over all rows so far, and over about the newest tenth.
    """

    name: str
    kind: Kind
    rows: list[int]
    since_beginning: dict[str, list[float | None]]
    recent: dict[str, list[float | None]]


class Slice(msgspec.Struct, frozen=True):
    """Metrics of every result over the rows of one slice."""

    value: str
    counted: int
    metrics: dict[str, dict[str, float | None]]


class Refused(msgspec.Struct, frozen=True):
    """Rows that were not measured, with the first reasons by place; `model` is `None` for rows that none could read."""

    model: str | None
    count: int
    first: dict[str, str]


class Findings(msgspec.Struct, frozen=True):
    """Findings of an evaluation.

    Attributes
    ----------
    on, rows, measured
        Name of the data, number of its rows that were read, and of those that had a label and were measured.
    label_delay
        As given; `None` if labels came at once.
    bigger_is_better
        By metric.
    block_rows
        Approximate number of rows of one block of the intervals.
    notes
        Where the evaluation differs from a live stream, and what else the reader must know.
    """

    on: str
    rows: int
    measured: int
    label_delay: str | None
    by: str | None
    bigger_is_better: dict[str, bool]
    results: list[Result]
    comparisons: list[Difference]
    curves: list[Curve]
    slices: list[Slice]
    refused: list[Refused]
    blocks: int
    block_rows: int
    notes: list[str]

    @property
    def unit(self) -> str:
        """Return what a row is, in the plural."""
        return "rows"

    @property
    def curves_title(self) -> str:
        """Return the heading of the curves."""
        return "Learning curves"
