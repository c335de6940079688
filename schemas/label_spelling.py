"""Spellings of a class: the numbers 2 and 2.0 and the text "2" are one class, and " a" is "a"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from schemas.events import Scalar

# The number of digits is limited, because Python refuses to parse thousands of them.
_WHOLE: Final = re.compile(r"(-?(?:0|[1-9][0-9]{0,308}))(?:\.0*)?")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,308})(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,3})?")


def class_key(label: Scalar) -> str:
    """Return a class's spelling as a key of `Outcome.probabilities`: as in JSON, but strings unquoted."""
    if isinstance(label, str):
        return label
    if isinstance(label, bool):
        return "true" if label else "false"
    return repr(label)


def whole_number(text: str) -> int | None:
    """Return a text as a whole number, `None` if it is not one; 007 is a text, because its zeros have a meaning.

    >>> whole_number("2"), whole_number(" 2.0 "), whole_number("007"), whole_number("2.5")
    (2, 2, None, None)
    """
    found = _WHOLE.fullmatch(text.strip())
    return None if found is None else int(found[1])


def number(text: str) -> int | float | None:
    """Return a text as a number, `None` if it is not one.

    >>> number("2.50"), number("1e3"), number("two"), number("nan")
    (2.5, 1000.0, None, None)
    """
    whole = whole_number(text)
    if whole is not None:
        return whole
    return float(text) if _NUMBER.fullmatch(text.strip()) else None


def shown(label: object) -> str:
    """Return a label as text for messages; a long one is cut."""
    text = repr(label)
    return text if len(text) <= 80 else f"{text[:79]}…"


def folded(text: str) -> str:
    """Return a spelling without what people vary by mistake: case, quotes, and dots at its ends.

    >>> folded(" Yes. ") == folded("'yes'")
    True
    """
    return text.strip().strip("'\"`.,; \t").casefold()


class Spellings:
    """A set of classes that can be found by any of their spellings.

    A text is found by the same text, ignoring white space at its ends; a number also by a text that spells it; a
    boolean also by `true` and `false` in any case. Two different texts stay two classes, even "1.1" and "1.10". Python
    and the models treat True as 1 and False as 0, so each of them finds the other.

    >>> classes = Spellings(["a", 1, "2"])
    >>> [classes.find(label) for label in (" a", "1", 1.0, True, 2, "b")]
    ['a', 1, 1, 1, '2', None]
    """

    def __init__(self, classes: Iterable[Scalar] = ()) -> None:
        self._texts: dict[str, Scalar] = {}
        self._numbers: dict[int | float, Scalar] = {}
        self._booleans: dict[bool, Scalar] = {}
        self._texts_of: dict[int | float, Scalar] = {}
        for label in classes:
            self.add(label)

    def add(self, label: Scalar) -> None:
        """Add a class. If several share a spelling, the first one is found."""
        if isinstance(label, bool):
            self._booleans.setdefault(label, label)
        elif isinstance(label, str):
            self._texts.setdefault(label.strip(), label)
            whole = whole_number(label)
            if whole is not None:
                self._texts_of.setdefault(whole, label)
        else:
            self._numbers.setdefault(label, label)

    def find(self, label: Scalar) -> Scalar | None:
        """Return the class that `label` spells, `None` if there is none."""
        if isinstance(label, str):
            return self._of_text(label.strip())
        found = self._booleans.get(label) if isinstance(label, bool) else self._numbers.get(label)
        if found is None:
            found = self._texts.get(class_key(label))
        if found is None and isinstance(label, bool):
            found = next((each for text, each in self._texts.items() if text.lower() == class_key(label)), None)
        elif found is None:
            found = self._texts_of.get(label)
        if found is not None:
            return found
        return self._numbers.get(int(label)) if isinstance(label, bool) else self._as_boolean(label)

    def _of_text(self, text: str) -> Scalar | None:
        found = self._texts.get(text)
        if found is None and text.lower() in ("true", "false"):
            found = self._booleans.get(text.lower() == "true")
        whole = whole_number(text) if found is None else None
        return found if whole is None else self._numbers.get(whole)

    def _as_boolean(self, label: float) -> Scalar | None:
        return self._booleans.get(label == 1) if label in (0, 1) else None


class ByClass:
    """Numbers by class, such as weights; a class without a number has 1.0."""

    def __init__(self, given: Mapping[Scalar, float]) -> None:
        self._given = dict(given)
        self._spelled = Spellings(self._given)

    def of(self, label: Scalar) -> float:
        """Return the number of a class, in any spelling."""
        found = self._spelled.find(label)
        return 1.0 if found is None else float(self._given[found])
