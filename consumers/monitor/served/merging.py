"""Merging of served groups of several windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schemas.profiles import ServedGroup


def merge_served(several: Iterable[Sequence[ServedGroup]], span: int) -> list[ServedGroup]:
    """Return the groups of a window that holds these windows, in any order and grouping.

    Parameters
    ----------
    span
        Length of the merged window (ms).
    """
    found: dict[tuple[tuple[str, str], ...], ServedGroup] = {}
    for groups in several:
        for each in groups:
            key = tuple(sorted(each.by.items()))
            before = found.get(key)
            found[key] = each if before is None else ServedGroup(each.by, each.labels + before.labels, {})
    return list(found.values())
