"""Values of metrics of served answers over windows, as rules and reports use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from consumers.monitor.served import measures
from consumers.monitor.served.groups import ALL, decoded, together
from schemas.profiles import Window
from schemas.target import Task


class Value(msgspec.Struct, frozen=True):
    """Value of a metric, and the number of labelled answers that it rests on."""

    value: float
    count: int


def values(windows: Sequence[Window], task: Task) -> Mapping[str, Value]:
    """Return each metric of the served answers over all windows by its name; undefined ones are left out.

    The names are ``accuracy``, ``precision``, ``recall``, ``f1``, ``roc_auc`` and ``log_loss`` for a binary target,
    ``accuracy``, ``macro_f1`` and ``log_loss`` for a multiclass one, ``mae``, ``rmse`` and ``r2`` for a regression, and
    ``roc_auc`` for anomaly detection.
    """
    several = [decoded(group for group in each.served if not group.by) for each in windows]
    whole = [groups[ALL] for groups in several if ALL in groups]
    if not whole:
        return {}
    sums = together(whole)
    found = measures.values(task, sums.totals.get("served", {}))
    return {name: Value(value, sums.labels) for name, value in found.items() if value is not None}
