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


@dataclass(frozen=True)
class Choice:
    """What `init` took for a part of the stream file, why, and the values that it saw there.

    >>> str(Choice("label", "churned", "last column", "no 812, yes 188"))
    'label: churned (last column: no 812, yes 188)'
    """

    what: str
    taken: str
    why: str
    seen: str = ""

    def __str__(self) -> str:
        said = ": ".join(filter(None, (self.why, self.seen)))
        return f"{self.what}: {self.taken} ({said})" if said else f"{self.what}: {self.taken}"
