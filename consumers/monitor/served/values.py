"""Values of metrics of served answers over windows, as rules and reports use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from schemas.profiles import Window
from schemas.target import Task


class Value(NamedTuple):
    """Value of a metric, and the number of labelled answers that it rests on."""

    value: float
    count: int


def values(windows: Sequence[Window], task: Task) -> Mapping[str, Value]:
    """Return each metric over all windows, by name (``accuracy``, ``f1``, ``roc_auc``, ``mae``, ...); undefined ones
    are left out.
    """
    return {}
