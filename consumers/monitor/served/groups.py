"""Groups of served answers: their sums, their records in a window, and what keeps these small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from consumers.model.metric_totals import Totals
from consumers.monitor.served.facets import LABELLED, MOST_VALUES, OTHER, PREDICTED
from consumers.monitor.served.measures import added, classes_in, from_json, most_frequent, narrowed, to_json
from schemas.profiles import ServedGroup

Group: TypeAlias = tuple[str, str]
"""Facet and value."""
ALL: Final[Group] = ("", "")
MOST_BYTES: Final = 300_000
"""Most bytes of the groups of a window: a record must stay small enough to be fetched with others."""


class Sums(NamedTuple):
    """Number of labelled answers of a group, and its sums by source.

    The sources are ``served``, and the baselines ``last_label`` and ``frequencies`` or ``running_mean``.
    """

    labels: int
    totals: Mapping[str, Totals]


def decoded(groups: Iterable[ServedGroup]) -> dict[Group, Sums]:
    """Return the groups that have sums. Raises msgspec.MsgspecError if they are damaged."""
    found = {}
    for each in groups:
        if PREDICTED not in each.by:
            totals = {source: from_json(text) for source, text in each.sums.items()}
            found[next(iter(each.by.items()), ALL)] = Sums(each.labels, totals)
    return found


def encoded(groups: Mapping[Group, Sums]) -> list[ServedGroup]:
    """Return the records of groups; small groups are put together until all fit into `MOST_BYTES`."""
    whole = groups.get(ALL)
    kept = most_frequent(classes_in([] if whole is None else whole.totals.values()))
    most = MOST_VALUES
    while True:
        some = _fewer(groups, most)
        found = [_record(group, sums, kept) for group, sums in some.items()]
        if most <= 1 or sum(len(text) for each in found for text in each.sums.values()) <= MOST_BYTES:
            return found
        most //= 2


def together(several: Sequence[Sums]) -> Sums:
    """Return the sums over several groups."""
    sources = dict.fromkeys(source for each in several for source in each.totals)
    totals = {source: added(each.totals.get(source, {}) for each in several) for source in sources}
    return Sums(sum(each.labels for each in several), totals)


def labelled_group(predicted: Mapping[int, int]) -> ServedGroup:
    """Return the record of the numbers of labelled predictions by the beginning of their window (ms)."""
    times = {str(time): count for time, count in sorted(predicted.items())}
    return ServedGroup({PREDICTED: ""}, sum(predicted.values()), {LABELLED: msgspec.json.encode(times).decode()})


_TIMES: Final = msgspec.json.Decoder(dict[int, int])


def labelled_in(groups: Iterable[ServedGroup]) -> Counter[int]:
    """Return the numbers of labelled predictions by the beginning of their window (ms)."""
    found: Counter[int] = Counter()
    for each in groups:
        if PREDICTED in each.by:
            found.update(_TIMES.decode(each.sums[LABELLED]))
    return found


def _fewer(groups: Mapping[Group, Sums], most: int) -> dict[Group, Sums]:
    """Return the groups with at most `most` values of each facet; those with the fewest labels are put together."""
    by_facet: dict[str, list[str]] = {}
    for facet, value in groups:
        by_facet.setdefault(facet, []).append(value)
    found: dict[Group, Sums] = {}
    for facet, values in by_facet.items():
        own = sorted(
            (value for value in values if value != OTHER), key=lambda each: (-groups[facet, each].labels, each)
        )
        rest = [*own[most:], *((OTHER,) if OTHER in values else ())]
        found |= {(facet, value): groups[facet, value] for value in own[:most]}
        if rest:
            found[facet, OTHER] = together([groups[facet, value] for value in rest])
    return found


def _record(group: Group, sums: Sums, kept: frozenset[object]) -> ServedGroup:
    by = {} if group == ALL else dict((group,))
    return ServedGroup(by, sums.labels, {source: to_json(narrowed(each, kept)) for source, each in sums.totals.items()})
