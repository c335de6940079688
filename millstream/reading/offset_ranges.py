"""Ranges of topics as users give them: by time, by offset, or by the offset of each partition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from runtime.kafka_client.client import Consumer
from runtime.kafka_client.records import Partition

Offsets: TypeAlias = dict[int, int]  # by partition


class NoSpan(Exception):  # noqa: N818
    """A range names a partition that the topic does not have."""


@dataclass(frozen=True)
class Edge:
    """Beginning or end of a range: a time in ms, one offset for all partitions, or offsets of named partitions.

    `text` is the user's input, so that the same command means the same range whenever it is run.
    """

    text: str = ""
    time_ms: int | None = None
    offset: int | None = None
    by_partition: Offsets | None = None


@dataclass(frozen=True)
class Span:
    """A range of a topic, in offsets.

    Attributes
    ----------
    begin, end
        Offsets of each partition; the end is excluded.
    ends
        End offsets of the topic.
    """

    begin: Offsets
    end: Offsets
    ends: Offsets

    @property
    def size(self) -> int:
        """Return the number of offsets in the range, including transaction markers."""
        return sum(self.end[each] - self.begin[each] for each in self.end)


def span(consumer: Consumer, topic: str, partitions: int, begin: Edge, end: Edge) -> Span:
    """Return the part of the topic between two edges. Raises NoSpan if the topic lacks a named partition."""
    places = [Partition(topic, number) for number in range(partitions)]
    lows, highs = _by_number(consumer.beginning_offsets(places)), _by_number(consumer.end_offsets(places))
    firsts, lasts = _offsets(consumer, places, begin, lows, highs), _offsets(consumer, places, end, highs, highs)
    firsts = {each: min(max(firsts[each], low), highs[each]) for each, low in lows.items()}
    lasts = {each: max(min(lasts[each], high), firsts[each]) for each, high in highs.items()}
    return Span(firsts, lasts, highs)


def taken(consumer: Consumer, topic: str, places: Mapping[int, int], ends: Mapping[int, int]) -> Offsets:
    """Return the first available offset of each partition in which retention has deleted records to be read."""
    lows = consumer.beginning_offsets([Partition(topic, each) for each in places if places[each] < ends[each]])
    return {each: low for each, low in _by_number(lows).items() if places[each] < low}


def _by_number(found: Mapping[Partition, int]) -> Offsets:
    return {place.partition: offset for place, offset in found.items()}


def _offsets(consumer: Consumer, places: Sequence[Partition], edge: Edge, otherwise: Offsets, ends: Offsets) -> Offsets:
    if edge.time_ms is not None:
        found = consumer.offsets_for_times(dict.fromkeys(places, edge.time_ms))
        return {each.partition: ends[each.partition] if at is None else at for each, at in found.items()}
    if edge.by_partition is not None:
        unknown = set(edge.by_partition) - set(otherwise)
        if unknown:
            raise NoSpan(f"{places[0].topic} has no partition {min(unknown)}: it has {len(places)}, from 0 on")
        return {**otherwise, **edge.by_partition}
    return otherwise if edge.offset is None else dict.fromkeys(otherwise, edge.offset)
