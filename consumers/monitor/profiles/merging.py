"""Merging of windows: partitions of one stretch of time, or shorter windows into a longer one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from consumers.monitor.profiles.categories import merged_categories
from consumers.monitor.profiles.distinct import merged_hashes
from consumers.monitor.profiles.moments import NO_MOMENTS, Moments, merged_moments
from consumers.monitor.profiles.pairs import merged_pairs
from consumers.monitor.profiles.quantiles import added, cells_of, knots_from, written
from consumers.monitor.profiles.size_limit import fitted
from consumers.monitor.profiles.window_profiles import MOST_FEATURES
from schemas.profiles import FEATURE, Numbers, Profile, ServedGroup, Window


def merge(
    windows: Iterable[Window], span: int, most_features: int = MOST_FEATURES, declared: Collection[str] = ()
) -> Window:
    """Return one window (partition and offsets -1) for all of these, which are of one kind and topic.

    Neither their order nor their grouping matters: counts are equal, means and variances agree to 1e-9, and quantiles
    to 1 % of rank. Counts of single categories are equal where no more than 200 come together; see
    `consumers.monitor.profiles.categories`.

    Parameters
    ----------
    span
        Length of the merged window (ms). Its start is the earliest of theirs, rounded down to a multiple of it.
    most_features, declared
        As of the windows' `WindowProfiles`.

    Raises
    ------
    ValueError
        If there are no windows, or not all have the same kind and topic.
    """
    windows = sorted(windows, key=lambda window: (window.start, window.partition, window.first_offset))
    if len({(window.kind, window.topic) for window in windows}) != 1:
        raise ValueError("only windows of one kind and topic can be merged, and at least one")
    kept, left_out = _kept(windows, most_features, frozenset(declared))
    cells = cells_of(span)
    profiles = {key: _profile(windows, key, span) for key in kept}
    pairs = merged_pairs(window.pairs for window in windows if window.pairs is not None)
    profiles, pairs = fitted(profiles, pairs, cells)
    return Window(
        kind=windows[0].kind,
        topic=windows[0].topic,
        partition=-1,
        first_offset=-1,
        next_offset=-1,
        start=windows[0].start // span * span,
        span=span,
        first_time=min(window.first_time for window in windows),
        last_time=max(window.last_time for window in windows),
        events=sum(window.events for window in windows),
        errors=_summed(window.errors for window in windows),
        profiles=profiles,
        left_out=sum(window.left_out for window in windows) + left_out,
        pairs=pairs,
        served=_served(windows, span),
    )


def _kept(windows: Sequence[Window], most_features: int, declared: Collection[str]) -> tuple[list[str], int]:
    """Return the keys of the merged profiles, and the number of values of features beyond the largest number."""
    keys = sorted({key for window in windows for key in window.profiles})
    prefix = f"{FEATURE}:"
    features = [key for key in keys if key.startswith(prefix)]
    if len(features) <= most_features:
        return keys, 0
    features.sort(key=lambda key: (key.removeprefix(prefix) not in declared, key))
    beyond = frozenset(features[most_features:])
    left_out = sum(
        sum(profile.types.values()) for window in windows for key, profile in window.profiles.items() if key in beyond
    )
    return [key for key in keys if key not in beyond], left_out


def _profile(windows: Sequence[Window], key: str, span: int) -> Profile:
    found = [window.profiles[key] for window in windows if key in window.profiles]
    absent = sum(window.events for window in windows if key not in window.profiles)
    categories, rest = merged_categories(found)
    hashes, are_all = merged_hashes(found)
    return Profile(
        missing=sum(each.missing for each in found) + absent,
        types=_summed(each.types for each in found),
        numbers=merged_numbers([each.numbers for each in found if each.numbers is not None], span),
        categories=categories,
        rest=rest,
        hashes=hashes,
        hashes_are_all=are_all,
    )


def merged_numbers(parts: Sequence[Numbers], span: int) -> Numbers | None:
    """Return the numbers of several windows together, as a window of `span` ms keeps them; `None` if there are none."""
    if not parts:
        return None
    moments = NO_MOMENTS
    for each in parts:
        moments = merged_moments(moments, Moments(each.count, each.mean, each.mean_low, each.squares))
    points, weights = written(added([knots_from(each.points, each.weights) for each in parts], cells_of(span)))
    least, most = min(each.least for each in parts), max(each.most for each in parts)
    return Numbers(moments.numbers, moments.mean, moments.squares, least, most, points, weights, moments.low)


def _served(windows: Sequence[Window], span: int) -> list[ServedGroup]:
    if not any(window.served for window in windows):
        return []
    # Only windows of examples have served answers, and their merging loads River: 80 MB.
    from consumers.monitor.served import merge_served

    return merge_served((window.served for window in windows), span)


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in counts:
        total.update(each)
    return dict(sorted(total.items()))
