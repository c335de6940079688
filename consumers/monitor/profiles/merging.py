"""Merging of windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from consumers.monitor.profiles.distinct import HASHES
from consumers.monitor.served import merge_served
from schemas.profiles import Numbers, Pairs, Profile, Window


def merge(windows: Sequence[Window], span: int) -> Window:
    """Return one window (partition and offsets -1) for all of these, which are of one kind and topic.

    Its start is the earliest of theirs, rounded down to a multiple of `span` (ms). Order and grouping do not matter:
    counts are equal, means and variances agree to 1e-9 and quantiles to 1 % of rank.
    """
    first = windows[0]
    events = sum(window.events for window in windows)
    errors: Counter[str] = Counter()
    names: dict[str, None] = {}
    for window in windows:
        errors.update(window.errors)
        names.update(dict.fromkeys(window.profiles))
    return Window(
        kind=first.kind,
        topic=first.topic,
        partition=-1,
        first_offset=-1,
        next_offset=-1,
        start=min(window.start for window in windows) // span * span,
        span=span,
        first_time=min(window.first_time for window in windows),
        last_time=max(window.last_time for window in windows),
        events=events,
        errors=dict(errors),
        profiles={name: _merged(windows, name) for name in names},
        left_out=sum(window.left_out for window in windows),
        pairs=_pairs([window.pairs for window in windows if window.pairs is not None]),
        served=merge_served((window.served for window in windows), span),
    )


def _merged(windows: Sequence[Window], name: str) -> Profile:
    found = [window.profiles[name] for window in windows if name in window.profiles]
    types: Counter[str] = Counter()
    categories: Counter[str] = Counter()
    for each in found:
        types.update(each.types)
        categories.update(each.categories)
    hashes = sorted({each for profile in found for each in profile.hashes})
    return Profile(
        missing=sum(each.missing for each in found)
        + sum(window.events for window in windows if name not in window.profiles),
        types=dict(types),
        numbers=_numbers([each.numbers for each in found if each.numbers is not None]),
        categories=dict(categories),
        rest=sum(each.rest for each in found),
        hashes=hashes[:HASHES],
        hashes_are_all=len(hashes) <= HASHES and all(each.hashes_are_all for each in found),
    )


def _numbers(parts: Sequence[Numbers]) -> Numbers | None:
    if not parts:
        return None
    points = np.concatenate([part.points for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    order = np.argsort(points, kind="stable")
    count = sum(part.count for part in parts)
    mean = sum(part.mean * (part.count / count) for part in parts)
    return Numbers(
        count=count,
        mean=mean,
        squares=sum(part.squares + part.count * (part.mean - mean) ** 2 for part in parts),
        least=min(part.least for part in parts),
        most=max(part.most for part in parts),
        points=points[order].tolist(),
        weights=weights[order].tolist(),
    )


def _pairs(parts: Sequence[Pairs]) -> Pairs | None:
    return parts[0] if parts else None
