"""Reading values out of text: of which type a column is, and what one cell of it means.

A column is of a type only if every cell looked at is (`producers.column_guess`); the same cells give the same type.
Empty means missing, and so do ``NA``, ``null``, ``-`` and the like in a column of numbers (`producers.spellings`).
``007`` is a string: as a number it would lose its zeros.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from producers.spellings import Style, is_missing, pointed
from schemas.events import FeatureValue

Kind = Literal["number", "integer", "boolean", "string", "bytes", "vector"]
Read = Callable[[str], FeatureValue]

_INTEGER: Final = re.compile(r"[+-]?(?:0|[1-9]\d{0,17})", re.ASCII)
_NUMBER: Final = re.compile(
    r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|inf(?:inity)?|nan)", re.ASCII | re.IGNORECASE
)
_BOOLEANS: Final = {"true": True, "false": False}
_LOOSE_BOOLEANS: Final = {**_BOOLEANS, "1": True, "0": False, "yes": True, "no": False, "t": True, "f": False}


class NotAValue(ValueError):  # noqa: N818
    """A cell does not hold what its column is of."""


def kind_of(cell: str) -> Kind | None:
    """Return the narrowest type a cell is of; None where it says nothing (empty, NaN, NA, -).

    >>> [kind_of(cell) for cell in ("3", "2.5", "true", "007", "[1, 2]", "", "nan")]
    ['integer', 'number', 'boolean', 'string', 'vector', None, None]
    """
    text = cell.strip()
    if is_missing(text):
        return None
    if _INTEGER.fullmatch(text):
        return "integer"
    if _NUMBER.fullmatch(text):
        return "number"
    if text.lower() in _BOOLEANS:
        return "boolean"
    return "vector" if _as_vector(text) is not None else "string"


def widest(one: Kind, other: Kind) -> Kind:
    """Return the type that takes both: a string, unless both are numbers."""
    if one == other:
        return one
    return "number" if {one, other} == {"integer", "number"} else "string"


def reader(kind: Kind | None, *, exact: bool = False, style: Style = "point") -> Read:
    """Return the function that reads the cells of a column.

    Parameters
    ----------
    kind
        The column's type. None, for a column without a value so far: each cell goes by what it looks like.
    exact
        The type was asked for, not guessed: an integer is nothing but one, and 0 and 1 do as booleans.
    style
        How the column writes its numbers; a cell of another style is refused.
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
    return value


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
    # Beyond 64 bits an integer travels as a double.
    return value if len(cell) < 19 and "_" not in cell else _number(cell)


def _exact_integer(cell: str) -> FeatureValue:
    value = _integer(cell)
    if isinstance(value, float):
        if not value.is_integer() or abs(value) >= 1 << 63:
            raise NotAValue(f"{_short(cell)} is not a whole number of 64 bits")
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
    """Return the bytes that base64 text stands for. NotAValue where it is none."""
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
    return values


def _by_looks(cell: str) -> FeatureValue:
    kind = kind_of(cell)
    return None if kind is None else reader(kind)(cell)


_READERS: Final[dict[str, Read]] = {"number": _number, "string": _string, "bytes": _bytes, "vector": _vector}
_BY_LOOKS: Final[Read] = _by_looks


def _short(cell: str) -> str:
    text = repr(cell.strip())
    return text if len(text) <= 40 else text[:39] + "…"
