"""Columns of a source, as a sample of its rows shows them."""

from __future__ import annotations

from dataclasses import dataclass

from producers.cell_types import Kind


@dataclass(frozen=True, kw_only=True)
class Column:
    """One feature as the sample shows it.

    `distinct` is None above 1,000 values. `minimum` and `maximum` are what was seen of a number.
    `categories` are the values of a string with few of them, sorted. `remark` says what was taken as what, for
    people: spellings of missing values, numbers with a decimal comma.
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
