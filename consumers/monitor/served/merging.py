"""Merging of served groups of several windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from consumers.monitor.served.groups import Group, Sums, decoded, encoded, labelled_group, labelled_in, together
from schemas.profiles import ServedGroup


def merge_served(several: Iterable[Sequence[ServedGroup]], span: int) -> list[ServedGroup]:
    """Return the groups of a window that holds these windows, in any order and grouping.

    Parameters
    ----------
    span
        Length of the merged window (ms).
    """
    found: dict[Group, list[Sums]] = {}
    predicted: Counter[int] = Counter()
    for groups in several:
        for group, sums in decoded(groups).items():
            found.setdefault(group, []).append(sums)
        for time, count in labelled_in(groups).items():
            predicted[time // span * span] += count
    merged = encoded({group: together(sums) for group, sums in sorted(found.items())})
    return [*merged, labelled_group(predicted)] if predicted else merged
