"""Columns of a source, described from a sample of its rows."""

from __future__ import annotations

from dataclasses import dataclass

from producers.cell_types import Kind


@dataclass(frozen=True, kw_only=True)
class Column:
    """Description of one feature from the sample.

    `distinct` is `None` above 1,000 values. `minimum` and `maximum` are the extremes of a number. `categories` are the
    values of a string that has few of them, sorted. `remark` is a text on interpretations: spellings of missing values,
    numbers with a decimal comma.
    """

    name: str
    type: Kind
    required: bool
    missing: int
    distinct: int | None
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    remark: str | None = None
