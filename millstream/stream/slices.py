"""Slices of a stream: from the features of an event to its value in each slice.

The value depends on the features alone, never on earlier events: so a process that starts again writes the same. The
number of values of a slice is therefore not bounded where they are written, but where they are read: `SliceValues`
keeps the first of a log apart, which are the same for every reader of that log.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeAlias

from millstream.stream.errors import InvalidStream
from schemas.events import Features
from schemas.sources.expressions import InvalidExpression, expression

LONGEST_VALUE: Final = 64
MOST_VALUES: Final = 100
OTHER: Final = "other"

Slice: TypeAlias = str | Callable[[Features], object]
Read: TypeAlias = Callable[[Features], object]


class SliceReader:
    """Returns the slices of events.

    Parameters
    ----------
    slices
        By name of the slice: a comparison, the name of a feature, or a function of the features.

    Attributes
    ----------
    absent
        By name of the slice, the number of events without a value there: a feature is missing, the function raised, or
        its answer has no slice.

    >>> reader = SliceReader({"large": "amount > 1000", "country": "country"})
    >>> reader({"amount": 20.0, "country": "DE"}), reader({"country": "FR"})
    ({'large': 'false', 'country': 'DE'}, {'country': 'FR'})
    >>> reader.absent["large"]
    1

    Raises
    ------
    InvalidStream
        If a comparison is invalid.
    """

    def __init__(self, slices: Mapping[str, Slice]) -> None:
        self._slices = [(name, _compiled(name, said), callable(said)) for name, said in slices.items()]
        self.absent: Counter[str] = Counter()

    def __call__(self, features: Features) -> dict[str, str]:
        """Return the value of an event by name of the slice, without the slices in which it has none."""
        found = {}
        for name, read, is_function in self._slices:
            try:
                # A function may change what it is given.
                text = _text(read(dict(features) if is_function else features))
            except Exception:  # noqa: BLE001 - user code may raise anything, and values may have no order
                text = None
            if text is None:
                self.absent[name] += 1
            else:
                found[name] = text
        return found


class SliceValues:
    """Keeps the first `most` values of a slice apart, and puts all later ones together.

    >>> values = SliceValues(most=2)
    >>> [values.kept("country", value) for value in ("DE", "FR", "IT", "FR")]
    ['DE', 'FR', 'other', 'FR']
    """

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._values: dict[str, set[str]] = {}

    def kept(self, name: str, value: str) -> str:
        """Return the value under which an event counts in the slice `name`. Call it in the order of the log."""
        known = self._values.setdefault(name, set())
        if value in known:
            return value
        if len(known) >= self._most:
            return OTHER
        known.add(value)
        return value


def check_texts(slices: Mapping[str, Slice], private: Collection[str] = ()) -> None:
    """Raise InvalidStream if a comparison is invalid, or the values of a slice are those of a private feature."""
    for name, said in slices.items():
        _compiled(name, said)
        if isinstance(said, str) and not _compares(said) and said.strip().strip("`") in private:
            raise InvalidStream(
                f"Stream: slices[{name!r}]={said!r:.60} would show the values of a private feature: compare it, as in "
                f"{said.strip() + ' > 1000'!r}, or leave the slice out"
            )


def _compiled(name: str, said: Slice) -> Read:
    if not isinstance(said, str):
        return said
    if not _compares(said):
        feature = said.strip().strip("`")
        return lambda features: features.get(feature)
    try:
        return expression(said)
    except InvalidExpression as error:
        raise InvalidStream(f"Stream: slices[{name!r}]={said!r:.60}: {error}") from error


def _compares(said: str) -> bool:
    """Return whether a text is a comparison. Any other text is the name of a feature, whatever characters it has."""
    try:
        node = ast.parse(said.strip().replace("`", "_"), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return any(sign in said for sign in "=<>")
    return isinstance(node, ast.Compare | ast.BoolOp) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )


def _text(value: object) -> str | None:
    """Return the text of a value, at most `LONGEST_VALUE` characters; `None` if the value has no slice."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value[:LONGEST_VALUE]
    if isinstance(value, (int, float)) and math.isfinite(value):
        # As in the features, 3 and 3.0 are the same number.
        return str(int(value) if value == int(value) else float(value))[:LONGEST_VALUE]
    return None
