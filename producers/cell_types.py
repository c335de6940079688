"""Types of columns of text, and conversion of their cells to values.

A column has a type only if every examined cell has it (`producers.column_guess`); the same cells give the same type. An
empty cell means missing, and so do ``NA``, ``null``, ``-`` and similar ones in a column of numbers
(`producers.cell_spellings`). ``007`` is a string: as a number it would lose its zeros.

Whole numbers are exact. Up to 64 bits they are integers, even in a column of numbers where a double would round them
(beyond 2^53). A column of longer ones is text; a single longer one among shorter ones is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final, Literal

import msgspec

from producers.cell_spellings import Style, is_missing, pointed
from schemas.events import FeatureValue
from schemas.exact_integers import EXACT, NotExact, long_of, may_be_rounded, vector_of

Kind = Literal["number", "integer", "boolean", "string", "bytes", "vector"]
Read = Callable[[str], FeatureValue]

WHOLE: Final = re.compile(r"[+-]?(?:0|[1-9]\d*)", re.ASCII)
_LONG_DIGITS: Final = 19  # the maximum of a 64-bit number
_NUMBER: Final = re.compile(
    r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|inf(?:inity)?|nan)", re.ASCII | re.IGNORECASE
)
_BOOLEANS: Final = {"true": True, "false": False}
_LOOSE_BOOLEANS: Final = {**_BOOLEANS, "1": True, "0": False, "yes": True, "no": False, "t": True, "f": False}


class NotAValue(ValueError):  # noqa: N818
    """A cell's value does not have the type of its column."""


def kind_of(cell: str) -> Kind | None:
    """Return the narrowest type of a cell; `None` if it gives no information (empty, NaN, NA, -).

    >>> [kind_of(cell) for cell in ("3", "2.5", "true", "007", "[1, 2]", "", "nan")]
    ['integer', 'number', 'boolean', 'string', 'vector', None, None]
    """
    text = cell.strip()
    if is_missing(text):
        return None
    if WHOLE.fullmatch(text) and _fits(text):
        return "integer"
    if _NUMBER.fullmatch(text):
        return "number"
    if text.lower() in _BOOLEANS:
        return "boolean"
    return "vector" if _as_vector(text) is not None else "string"


def widest(one: Kind, other: Kind) -> Kind:
    """Return the type that includes both: a string, unless both are numbers."""
    if one == other:
        return one
    return "number" if {one, other} == {"integer", "number"} else "string"


def reader(kind: Kind | None, *, exact: bool = False, style: Style = "point") -> Read:
    """Return the function that reads the cells of a column.

    Parameters
    ----------
    kind
        The column's type; `None` for a column without a value so far, where each cell's own form decides.
    exact
        True if the user gave the type: only whole numbers are integers, and 0 and 1 are valid booleans.
    style
        The column's style of numbers; a cell of another style is refused.
    """
    if style != "point" and kind in {"number", "integer"}:
        return _styled(reader(kind, exact=exact), style)
    if kind == "integer":
        return _exact_integer if exact else _integer
    if kind == "boolean":
        return _loose_boolean if exact else _boolean
    return _BY_LOOKS if kind is None else _READERS[kind]


def _styled(read: Read, style: Style) -> Read:
    written = {"comma": "a decimal comma, as its column has", "grouped": "commas between thousands, as its column has"}

    def read_styled(cell: str) -> FeatureValue:
        text = cell.strip()
        if is_missing(text):
            return None
        number = pointed(text, style)
        if number is None:
            raise NotAValue(f"{_short(cell)} is not a number with {written[style]}")
        return read(number)

    return read_styled


def _number(cell: str) -> FeatureValue:
    try:
        value = float(cell)
    except ValueError:
        if is_missing(cell):
            return None
        raise NotAValue(f"{_short(cell)} is not a number{_styles_hint(cell)}") from None
    if value - value != 0.0:
        if value != value:  # noqa: PLR0124 - the test for NaN
            return None
        raise NotAValue(f"{cell.strip()} is not finite")
    if "_" in cell:
        raise NotAValue(f"{_short(cell)} is not a number")
    if -EXACT < value < EXACT or not WHOLE.fullmatch(cell.strip()):
        return value
    return _long(int(cell))


def _long(value: int) -> int:
    try:
        return long_of(value, "its value")
    except NotExact as error:
        raise NotAValue(str(error)) from error


def _fits(text: str) -> bool:
    digits = len(text.lstrip("+-"))
    return digits < _LONG_DIGITS or (digits == _LONG_DIGITS and -(1 << 63) <= int(text) < 1 << 63)


def _styles_hint(cell: str) -> str:
    text = cell.strip()
    if pointed(text, "comma") is None and pointed(text, "grouped") is None:
        return ""
    return " as it stands: write it with a decimal point and nothing between thousands, such as 1234.5"


def _integer(cell: str) -> FeatureValue:
    try:
        value = int(cell)
    except ValueError:
        return _number(cell)
    if len(cell) < _LONG_DIGITS and "_" not in cell:
        return value
    return _number(cell) if "_" in cell else _long(value)


def _exact_integer(cell: str) -> FeatureValue:
    value = _integer(cell)
    if isinstance(value, float):
        if abs(value) >= EXACT:
            raise NotAValue(f"{_short(cell)} is written as a double, and one so large is rounded: write all its digits")
        # Compared as a decimal, because 0.99999999999999999 equals 1 as a double.
        if not value.is_integer() or Decimal(cell.strip()) != int(value):
            raise NotAValue(f"{_short(cell)} is not a whole number")
        return int(value)
    return value


def _boolean(cell: str) -> FeatureValue:
    return _word(cell, _BOOLEANS)


def _loose_boolean(cell: str) -> FeatureValue:
    return _word(cell, _LOOSE_BOOLEANS)


def _word(cell: str, words: dict[str, bool]) -> FeatureValue:
    text = cell.strip().lower()
    if text in words:
        return words[text]
    if not text or (words is _LOOSE_BOOLEANS and is_missing(text)):
        return None
    raise NotAValue(f"{_short(cell)} is neither true nor false")


def _string(cell: str) -> FeatureValue:
    return cell or None


def _bytes(cell: str) -> FeatureValue:
    if not cell.strip():
        return None
    return base64_bytes(cell)


def base64_bytes(text: str) -> bytes:
    """Decode base64 text; raise NotAValue if it is invalid."""
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise NotAValue(f"{_short(text)} is not base64") from None


def _as_vector(text: str) -> list[float] | None:
    if not text.startswith("["):
        return None
    try:
        return msgspec.json.decode(text, type=list[float])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def _vector(cell: str) -> FeatureValue:
    text = cell.strip()
    if not text:
        return None
    values = _as_vector(text)
    if values is None:
        raise NotAValue(f"{_short(cell)} is not a list of numbers such as [1, 2.5]")
    if may_be_rounded(values):
        try:
            return vector_of(msgspec.json.decode(text, type=list[int | float]), "the list")
        except NotExact as error:
            raise NotAValue(str(error)) from error
    return values


def _by_looks(cell: str) -> FeatureValue:
    kind = kind_of(cell)
    return None if kind is None else reader(kind)(cell)


_READERS: Final[dict[str, Read]] = {"number": _number, "string": _string, "bytes": _bytes, "vector": _vector}
_BY_LOOKS: Final[Read] = _by_looks


def _short(cell: str) -> str:
    text = repr(cell.strip())
    return text if len(text) <= 40 else text[:39] + "…"
