"""Index of the version that answered each event of a range, read from the prediction log.

An answer names the position of its event and the version that gave it. The index keeps one number of four bytes for
each offset of the range: ten million events take 40 MB.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Final

from millstream.reading import topic_readers
from model_store import VersionId
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import Cluster, MissingTopic
from runtime.kafka_client.records import Partition
from schemas.codec import CodecError
from schemas.events import Outcome, read_prediction

_NONE: Final = -1
_ERROR: Final = -2
_CLOCKS_MS: Final = 60_000  # the brokers' clocks may differ by so much


class ServedIndex:
    """Version that answered an event first, by the event's partition and offset.

    An error names no version, so it counts as given by the version that answered before it.

    Attributes
    ----------
    answers
        Number of answers found.
    """

    def __init__(self, topic: str, begin: Mapping[int, int], end: Mapping[int, int]) -> None:
        self._topic = topic
        self._begin, self._end = dict(begin), dict(end)
        self._slots = {each: array("i", [_NONE]) * (end[each] - begin[each]) for each in end}
        self._numbers: dict[VersionId, int] = {}
        self._versions: list[VersionId] = []
        self._after: dict[int, int] = {}
        self.answers = 0

    def take(self, outcome: Outcome) -> None:
        """Add one answer; if an event has several, the first counts."""
        partition, offset = outcome.source_partition, outcome.source_offset
        if outcome.source_topic != self._topic:
            return
        self._after[partition] = max(offset + 1, self._after.get(partition, 0))
        if partition not in self._slots:
            return
        at = offset - self._begin[partition]
        slots = self._slots[partition]
        if not 0 <= at < len(slots) or slots[at] != _NONE:
            return
        self.answers += 1
        slots[at] = _ERROR if outcome.epoch < 0 else self._number(outcome)

    def _number(self, outcome: Outcome) -> int:
        version = VersionId(outcome.model, outcome.epoch, outcome.examples)
        number = self._numbers.get(version)
        if number is None:
            number = self._numbers[version] = len(self._versions)
            self._versions.append(version)
        return number

    def settle(self, otherwise: VersionId | None) -> None:
        """Assign errors the version before them; at a partition's beginning the version after, else `otherwise`."""
        for slots in self._slots.values():
            known = next((each for each in slots if each >= 0), None)
            if known is None and otherwise is not None and _ERROR in slots:
                known = self._numbers.setdefault(otherwise, len(self._versions))
                self._versions += [otherwise] if known == len(self._versions) else []
            for at, each in enumerate(slots):
                if each >= 0:
                    known = each
                elif each == _ERROR and known is not None:
                    slots[at] = known

    def version(self, partition: int, offset: int) -> VersionId | None:
        """Return the version that answered an event, `None` if none did as far as the log goes back."""
        number = self._slots[partition][offset - self._begin[partition]]
        return None if number < 0 else self._versions[number]

    def versions(self, places: Mapping[int, int] | None = None) -> list[VersionId]:
        """Return the versions that answered, in order; with `places`, only from these offsets on."""
        since = self._begin if places is None else places
        numbers = {
            each for number, slots in self._slots.items() for each in slots[since[number] - self._begin[number] :]
        }
        return sorted(self._versions[each] for each in numbers if each >= 0)

    @property
    def partitions(self) -> tuple[int, ...]:
        """Return the partitions of the source that have offsets in the range."""
        return tuple(each for each, slots in self._slots.items() if slots)

    def beyond(self, ends: Mapping[int, int]) -> bool:
        """Return whether an answer is to an offset after the topic's end, so that it belongs to an older topic."""
        return any(after > ends.get(partition, 0) for partition, after in self._after.items())

    def passed(self, outcome: Outcome) -> int | None:
        """Return the partition of the source that has passed the range by this answer, if any."""
        partition = outcome.source_partition
        beyond = outcome.source_topic == self._topic and outcome.source_offset >= self._end.get(partition, 0)
        return partition if beyond else None


def read_index(
    cluster: Cluster,
    predictions: str,
    index: ServedIndex,
    since_ms: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Fill an index from the prediction log.

    Parameters
    ----------
    since_ms
        Broker's time of the oldest possible answer; 0 if unknown.
    progress
        Called with offsets done and their total.
    """
    with closing(cluster.consumer(max_partition_fetch_bytes=4 << 20, max_poll_records=2000)) as consumer:
        found = cluster.topic_info(predictions).get(predictions)
        if found is None:
            raise MissingTopic(
                f"there is no topic {predictions}: create the stream's with `millstream topics create STREAM`"
            )
        places = [Partition(predictions, number) for number in range(found.partitions)]
        begins, ends = _begins(consumer, places, since_ms), consumer.end_offsets(places)
        total, before = sum(ends[each] - begins[each] for each in places), 0
        for place in places:
            for count, (offset, outcome) in enumerate(_outcomes(consumer, place, begins[place], ends[place], index)):
                index.take(outcome)
                if count % 5000 == 0:
                    progress(before + offset - begins[place], total)
            before += ends[place] - begins[place]
        progress(total, total)


def _outcomes(
    consumer: Consumer, place: Partition, begin: int, end: int, index: ServedIndex
) -> Iterator[tuple[int, Outcome]]:
    """Yield answers until all partitions of the source are past the range; each partition's are in order."""
    left = set(index.partitions)
    for record in topic_readers.between(consumer, place, begin, end):
        try:
            outcome = read_prediction(record.value or b"").outcome
        except CodecError:
            continue  # any client can write there; an invalid record is not an answer
        yield record.offset, outcome
        left.discard(index.passed(outcome))
        if not left:
            return


def _begins(consumer: Consumer, places: list[Partition], since_ms: int) -> dict[Partition, int]:
    begins = consumer.beginning_offsets(places)
    if not since_ms:
        return dict(begins)
    found = consumer.offsets_for_times(dict.fromkeys(places, max(0, since_ms - _CLOCKS_MS)))
    ends = consumer.end_offsets(places)
    return {each: ends[each] if at is None else at for each, at in found.items()}


def first_time(cluster: Cluster, topic: str, begin: Mapping[int, int], end: Mapping[int, int]) -> int:
    """Return the time (ms) of the oldest record of a range; 0 if it is empty or retention has deleted its head."""
    times: list[int] = []
    with closing(cluster.consumer()) as consumer:
        places = [Partition(topic, number) for number in end]
        if any(begin[place.partition] < low for place, low in consumer.beginning_offsets(places).items()):
            return 0
        for place in places:
            found = topic_readers.between(consumer, place, begin[place.partition], end[place.partition])
            times += [record.timestamp for record in [next(found, None)] if record is not None]
    return min(times, default=0)


def ends_of(cluster: Cluster, topic: str, partitions: int) -> dict[int, int]:
    """Return the current end of each partition of a topic."""
    with closing(cluster.consumer()) as consumer:
        found = consumer.end_offsets([Partition(topic, number) for number in range(partitions)])
    return {place.partition: int(end) for place, end in found.items()}
