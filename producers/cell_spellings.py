"""Spellings of missing values, of numbers with separators or units, and of dates in cells.

A spelling of a missing value counts only in a column of numbers: in text ``NA`` may be Namibia. The whole column
decides whether numbers have a decimal comma or thousands separators: ``1,234`` alone may be either.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, Literal

Style = Literal["point", "comma", "grouped"]
"""``point``: 1234.5; ``comma``: 1.234,5; ``grouped``: 1,234.5. All allow spaces and apostrophes between thousands."""

_MISSING: Final = frozenset(
    (
        *("", "na", "n/a", "n.a.", "#na", "#n/a", "<na>", "null", "nil", "none", "-", "--", ".", "..", "?", "\\n"),
        *("nan", "-nan", "+nan", "1.#qnan", "-1.#ind"),
    )
)
_BETWEEN: Final = r"'’ \u00a0\u2009\u202f"  # thousands separators beside the dot and the comma


def _grouped_by(separator: str, mark: str) -> re.Pattern[str]:
    whole = rf"(?:0|[1-9]\d*|[1-9]\d{{0,2}}(?P<by>[{separator}{_BETWEEN}])\d{{3}}(?:(?P=by)\d{{3}})*)"
    return re.compile(rf"[+-]?(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


COMMA: Final = _grouped_by(r"\.", ",")
GROUPED: Final = _grouped_by(",", r"\.")
_PLAIN_COMMA: Final = str.maketrans(",", ".", "." + "'’ \u00a0\u2009\u202f")
_PLAIN_GROUPED: Final = str.maketrans("", "", ",'’ \u00a0\u2009\u202f")

_CLOCK: Final = r"\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?[ap]m)?(?: ?(?:z|utc|[+-]\d\d:?\d\d))?"
_DAY: Final = (
    r"\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d\d)"
    r"|\d{1,2}[- .]{1,2}[a-z]{3,9}\.?[- ]\d{2,4}|[a-z]{3,9}\.? \d{1,2},? \d{4}"
)
_SIGN: Final = "[$€£¥₹%]"
_WITH_UNIT: Final = re.compile(rf"[+-]?{_SIGN} ?[+-]?\d[\d.,' ]*|[+-]?\d[\d.,' ]*{_SIGN}", re.ASCII)
_DATE: Final = re.compile(rf"(?:(?:{_DAY})(?:(?:t|,? ){_CLOCK})?|{_CLOCK})", re.ASCII | re.IGNORECASE)


_DOTTED: Final = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,? (\d{1,2}):(\d\d)(?::(\d\d))?)?", re.ASCII)


def is_missing(cell: str) -> bool:
    """Return whether a cell in a column of numbers means a missing value.

    >>> [is_missing(cell) for cell in ("", "NA", "-", " ? ", "0")]
    [True, True, True, True, False]
    """
    return cell.strip().lower() in _MISSING


def is_date(cell: str) -> bool:
    """Return whether a cell is a date, a time of day, or both.

    >>> [is_date(cell) for cell in ("2026-01-31", "31.1.2026 12:30", "Jan 31, 2026", "1.5", "2026")]
    [True, True, True, False, False]
    """
    return len(cell) <= 40 and _DATE.fullmatch(cell.strip()) is not None


def dotted_date(text: str) -> datetime | None:
    """Return a date with dots, ``31.1.2026`` or ``31.01.2026 12:30:00``, which is always day, month, year.

    >>> dotted_date("31.1.2026 12:30").isoformat(), dotted_date("1/2/2026"), dotted_date("31.2.2026")
    ('2026-01-31T12:30:00', None, None)
    """
    found = _DOTTED.fullmatch(text.strip())
    if found is None:
        return None
    day, month, year, hour, minute, second = (int(each or 0) for each in found.groups())
    try:
        return datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None


def has_unit(cell: str) -> bool:
    """Return whether a cell is a number with a currency or a percent sign.

    >>> [has_unit(cell) for cell in ("$1,234.50", "12 %", "3,5 €", "12", "a%")]
    [True, True, True, False, False]
    """
    return len(cell) <= 40 and _WITH_UNIT.fullmatch(cell.strip()) is not None


def pointed(text: str, style: Style) -> str | None:
    """Return a number of a style in Python's spelling; `None` if the text is not a number of that style.

    >>> pointed("1.234,50", "comma"), pointed("1,234.50", "grouped"), pointed("12.5", "comma")
    ('1234.50', '1234.50', None)
    """
    if style == "point":
        return text
    if style == "comma":
        return text.translate(_PLAIN_COMMA) if COMMA.fullmatch(text) else None
    return text.translate(_PLAIN_GROUPED) if GROUPED.fullmatch(text) else None
