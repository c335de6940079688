"""Paths into a message: ``payment.card.country``, ``items[0].price``, ``labels.`http.method` ``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

Parts: TypeAlias = tuple[str | int, ...]


class _Missing:
    """Type of the marker for a missing value, because `None` is a value that a message can hold."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = _Missing()
_PART: Final = re.compile(r"(?P<dot>\.)?(?:`(?P<quoted>[^`]+)`|(?P<plain>[^.`\[\]]+))|\[(?P<index>-?\d{1,9})\]")


class InvalidPath(ValueError):  # noqa: N818
    """A path is invalid; the message shows the position of the error and the valid syntax."""


def parts(text: str) -> Parts:
    """Parse a path into names and indexes.

    >>> parts("items[0].price"), parts("`http.method`.name")
    (('items', 0, 'price'), ('http.method', 'name'))

    Raises
    ------
    InvalidPath
        If `text` is not a valid path.
    """
    if not isinstance(text, str):
        raise InvalidPath(f"{text!r} is no path: a path is text, such as payment.amount")
    found: list[str | int] = []
    at = 0
    while at < len(text):
        part = _PART.match(text, at)
        # A dot is only allowed between two names.
        if part is None or (part["index"] is None and bool(part["dot"]) is not bool(found)):
            break
        found.append(int(part["index"]) if part["index"] is not None else part["quoted"] or part["plain"])
        at = part.end()
    if not found or at < len(text):
        raise InvalidPath(
            f"{text!r} is no path at character {at + 1}: names with dots between them, [0] for a place in a list, "
            "and backticks around a name that itself holds a dot or a bracket"
        )
    return tuple(found)


def path(text: str) -> Callable[[Any], Any]:
    """Return a function that finds the value at a path in a message, or `MISSING` if there is none.

    An index counts from 0, a negative one from the end. Everything below a null is missing.

    >>> price = path("items[-1].price")
    >>> price({"items": [{"price": 3}, {"price": 5}]}), price({"items": []})
    (5, MISSING)

    Raises
    ------
    InvalidPath
        If `text` is not a valid path.
    """
    steps = parts(text)
    if len(steps) == 1 and isinstance(steps[0], str):
        return _one_name(steps[0])

    def find(message: Any) -> Any:
        for step in steps:
            if isinstance(step, str):
                message = message.get(step, MISSING) if isinstance(message, Mapping) else MISSING
            elif isinstance(message, Sequence) and not isinstance(message, (str, bytes)):
                message = message[step] if -len(message) <= step < len(message) else MISSING
            else:
                return MISSING
        return message

    return find


def _one_name(name: str) -> Callable[[Any], Any]:
    """Return a faster function for the most common path: a single name."""
    return lambda message: message.get(name, MISSING) if isinstance(message, Mapping) else MISSING
