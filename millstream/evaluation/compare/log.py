"""Reader of shadows and comparisons of a period, by the broker's times of the predictions."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final, NamedTuple

from millstream.evaluation.rows import Refusals, Repeats
from millstream.reading import topic_readers
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition
from schemas import codec
from schemas.codec import CodecError
from schemas.comparisons import Comparison, read_comparison, read_shadow
from schemas.topics import COMPARISONS, SHADOWS, Names

_CLOCKS_DIFFER_MS: Final = 3_600_000  # shadows carry the time of their writer, not of the broker
_SHOW_EVERY: Final = 1000
Progress = Callable[[int, int | None], None]


class Period(NamedTuple):
    """Time span (ms since 1970) of the predictions to compare; `None` where it is open. The end is excluded."""

    begin_ms: int | None = None
    end_ms: int | None = None

    def holds(self, time_ms: int) -> bool:
        """Return whether a time is in it."""
        return (self.begin_ms is None or time_ms >= self.begin_ms) and (self.end_ms is None or time_ms < self.end_ms)


class Arrived(NamedTuple):
    """A comparison, and the broker's time at which it was written (ms)."""

    comparison: Comparison
    time: int


class Predicted(NamedTuple):
    """Times of the shadowed events' predictions.

    Attributes
    ----------
    times
        Broker's times (ms), in no order.
    complete_from
        From this time on no shadow has been deleted by retention (ms); 0 if none has.
    """

    times: array[int]
    complete_from: int


class ComparisonLog:
    """The topics `shadows` and `comparisons` of a stream, up to the ends that they have when it is made.

    Raises
    ------
    MissingTopic
        If the stream has no such topic.
    """

    def __init__(self, cluster: Cluster, names: Names, period: Period) -> None:
        self._cluster = cluster
        self._period = period
        self.name = names.topic(COMPARISONS)
        self._shadows = names.topic(SHADOWS)
        with closing(cluster.consumer()) as consumer:
            self._place = topic_readers.partitions_of(consumer, self.name)[0]
            self._begin, self._end = self._offsets(consumer, [self._place], period.begin_ms)[self._place]
            begin = None if period.begin_ms is None else period.begin_ms - _CLOCKS_DIFFER_MS
            places = topic_readers.partitions_of(consumer, self._shadows)
            self._of_shadows = self._offsets(consumer, places, begin)

    def read(self, refused: Refusals, show: Progress) -> Iterator[Arrived]:
        """Yield the comparisons of the period, each once, in the order of the topic."""
        repeats = Repeats()
        with closing(self._cluster.consumer()) as consumer:
            for record in topic_readers.between(consumer, self._place, self._begin, self._end):
                if record.offset % _SHOW_EVERY == 0:
                    show(record.offset - self._begin, self._end - self._begin)
                try:
                    found = read_comparison(record.value or b"")
                except CodecError as error:
                    refused.add(f"offset {record.offset}", str(error))
                    continue
                if not repeats.note(found.lane) and self._period.holds(found.shadow.time):
                    yield Arrived(found, record.timestamp)

    def predicted(self) -> Predicted:
        """Return when the shadowed events of the period were predicted."""
        times = array("q")
        complete_from = 0
        with closing(self._cluster.consumer()) as consumer:
            lows = consumer.beginning_offsets(list(self._of_shadows))
            for place, (begin, end) in sorted(self._of_shadows.items()):
                first: int | None = None
                for record in topic_readers.between(consumer, place, begin, end):
                    if not (record.value or b"").startswith(codec.SHADOW.header):
                        continue
                    try:
                        time = read_shadow(record.value or b"").time
                    except CodecError:
                        continue  # the judge has made a dead letter of it
                    first = time if first is None else first
                    if self._period.holds(time):
                        times.append(time)
                if first is not None and lows[place] > 0:
                    complete_from = max(complete_from, first)
        return Predicted(times, complete_from)

    @staticmethod
    def _offsets(consumer: Consumer, places: list[Partition], begin_ms: int | None) -> dict[Partition, tuple[int, int]]:
        """Return where to begin and to end in each partition."""
        begins, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        if begin_ms is not None and begin_ms > 0:
            later = consumer.offsets_for_times(dict.fromkeys(places, begin_ms))
            begins = {place: ends[place] if at is None else max(at, begins[place]) for place, at in later.items()}
        return {place: (begins[place], ends[place]) for place in places}
