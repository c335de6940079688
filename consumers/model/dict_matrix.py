"""Matrix of a batch of numbers by name, as a DictVectorizer makes it, in less time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Final

import numpy as np

from schemas.events import Features

_NUMBERS: Final = frozenset({bool, float, int})


def faster(estimator: Any, name: str) -> Callable[[Any], Any] | None:
    """Return a method of a fitted estimator; of a pipeline over dictionaries of numbers the same, in less time.

    A DictVectorizer looks at each value of each event, which takes a third of the time of boosted trees. A batch that
    has other values, or not always the same names, is left to it.
    """
    whole: Callable[[Any], Any] | None = getattr(estimator, name, None)
    steps = getattr(estimator, "steps", None)
    if whole is None or not isinstance(steps, list) or len(steps) < 2:
        return whole
    first = steps[0][1]
    kind = type(first)
    if f"{kind.__module__}.{kind.__name__}" != "sklearn.feature_extraction._dict_vectorizer.DictVectorizer":
        return whole
    if type(estimator).__module__ != "sklearn.pipeline" or first.sparse or first.dtype is not np.float64:
        return whole
    rest: Callable[[Any], Any] = getattr(estimator[1:], name)
    vocabulary: dict[str, int] = first.vocabulary_

    def ask(rows: Any) -> Any:
        matrix = _matrix(rows, vocabulary)
        return whole(rows) if matrix is None else rest(matrix)

    return ask


def _matrix(rows: Sequence[Features], vocabulary: dict[str, int]) -> Any:
    """Return the matrix of rows; `None` if they have other values than numbers, or not always the same names.

    >>> _matrix([{"a": 1, "b": 2.5}, {"a": 3, "b": True}], {"b": 0, "c": 1})
    array([[2.5, 0. ],
           [1. , 0. ]])
    """
    names = [*rows[0]]
    if any([*row] != names for row in rows):
        return None
    if not _NUMBERS.issuperset(map(type, chain.from_iterable(map(dict.values, rows)))):
        return None
    values = chain.from_iterable(map(dict.values, rows))
    try:
        read = np.fromiter(values, dtype=np.float64, count=len(rows) * len(names)).reshape(len(rows), len(names))
    except OverflowError:
        return None
    known = [place for place, name in enumerate(names) if name in vocabulary]
    matrix = np.zeros((len(rows), len(vocabulary)))
    matrix[:, [vocabulary[names[place]] for place in known]] = read[:, known]
    return matrix
