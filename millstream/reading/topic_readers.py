"""Readers of predictions, examples, dead letters and alerts: turn records of the topics into rows."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import filterfalse, islice
from typing import Any, Final, NamedTuple, TypeAlias

from consumers.loop.dead_letters import replayed
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import Cluster, MissingTopic
from runtime.kafka_client.records import Partition, Record
from schemas import events
from schemas.alerts import fields_of, read_alert_record
from schemas.codec import CodecError
from schemas.contract import MASK
from schemas.dead_letters import PRIVATE, read_dead_letter
from schemas.events import Event, Outcome
from schemas.topics import Names

Row: TypeAlias = dict[str, Any]

_POLL_MS: Final = 200
_BACK: Final = 3  # offsets before the end to begin at, for each record wanted: a record and its transaction markers


class Counted(NamedTuple):
    """Number of records in a topic: exact, or a lower bound."""

    records: int
    exact: bool


def read(
    cluster: Cluster, names: Names, kind: str, *, limit: int | None = None, last: int | None = None
) -> Iterator[Row]:
    """Yield the current rows of a topic, partition by partition, each in the order of offsets.

    Parameters
    ----------
    kind
        ``predictions``, ``examples``, ``dead-letters`` or ``alerts``.
    limit
        Stop after so many.
    last
        Yield only the newest rows, so many over all partitions, in the order of the broker's time.
    """
    yield from map(ROWS[kind], each_record(cluster, names, kind, limit=limit, last=last))


def each_record(
    cluster: Cluster, names: Names, kind: str, *, limit: int | None = None, last: int | None = None
) -> Iterator[Record]:
    """Yield the records of the rows that `read` yields."""
    topic = _topic(names, kind)
    with closing(cluster.consumer(max_poll_records=5000, max_partition_fetch_bytes=4 << 20)) as consumer:
        partitions = partitions_of(consumer, topic)
        ends = consumer.end_offsets(partitions)
        if last is not None:
            newest = deque(_newest(consumer, ends, last))
            while newest:
                yield newest.popleft()  # a reader that keeps less than the record needs no room for both
            return
        yield from islice(filterfalse(is_note, _all(consumer, ends)), limit)


def follow(cluster: Cluster, names: Names, kind: str, *, last: int = 0, limit: int | None = None) -> Iterator[Row]:
    """Yield the newest `last` rows, then new rows as they come; without end unless `limit` is given."""
    topic, rows = _topic(names, kind), ROWS[kind]
    count = 0
    with closing(cluster.consumer(fetch_max_wait_ms=_POLL_MS)) as consumer:
        partitions = partitions_of(consumer, topic)
        ends = consumer.end_offsets(partitions)
        for record in _newest(consumer, ends, last):
            yield rows(record)
            count += 1
            if count == limit:
                return
        consumer.assign(partitions)
        for partition, end in ends.items():
            consumer.seek(partition, end)
        while True:
            for batch in consumer.poll(timeout_ms=_POLL_MS).values():
                for record in filterfalse(is_note, batch):
                    yield rows(record)
                    count += 1
                    if count == limit:
                        return


def records(cluster: Cluster, topic: str, count: int, *, newest: bool) -> list[Record]:
    """Return the first, or the newest, `count` committed records of a topic, over all its partitions, oldest first.

    The reader joins no group, so other consumers are not affected.

    Raises
    ------
    MissingTopic
        If there is no such topic.
    """
    with closing(cluster.consumer()) as consumer:
        ends = consumer.end_offsets(partitions_of(consumer, topic))
        if newest:
            return _newest(consumer, ends, count)
        begins = consumer.beginning_offsets(list(ends))
        heads = [list(islice(between(consumer, each, begins[each], end), count)) for each, end in ends.items()]
        return list(heapq.merge(*heads, key=lambda record: record.timestamp))[:count]


def holding(
    consumer: Consumer,
    topic: str,
    likely: Callable[[int], int],
    needle: bytes,
    since_ms: int,
    means: Callable[[Record], bool] = lambda record: True,
) -> Iterator[Record]:
    """Yield the records whose value contains some bytes and that `means` accepts.

    Parameters
    ----------
    likely
        Returns, for a number of partitions, the one to search first; the others are searched only if it has no match.
    since_ms
        Broker's time to begin at; 0 for all.
    means
        Called for each record that has the bytes, because the id ``e5`` is also in ``e50``.
    """
    partitions = partitions_of(consumer, topic)
    first = partitions[likely(len(partitions))]
    found = False
    for partition in (first, *(each for each in partitions if each != first)):
        if found:
            return
        begins = consumer.beginning_offsets([partition])[partition]
        if since_ms:
            later = consumer.offsets_for_times({partition: since_ms})[partition]
            begins = max(begins, later) if later is not None else begins
        for record in between(consumer, partition, begins, consumer.end_offsets([partition])[partition]):
            if record.value is not None and needle in record.value and means(record):
                found = True
                yield record


def begin(consumer: Consumer, topic: str) -> int:
    """Return the first offset of a topic's partition 0."""
    place = _only(consumer, topic)
    return consumer.beginning_offsets([place])[place]


def end(consumer: Consumer, topic: str) -> int:
    """Return the offset after the last committed record of a topic's partition 0."""
    place = _only(consumer, topic)
    return consumer.end_offsets([place])[place]


def _only(consumer: Consumer, topic: str) -> Partition:
    return partitions_of(consumer, topic)[0]


def count(cluster: Cluster, names: Names, kind: str, *, most: int = 1000) -> Counted:
    """Count the committed records among the newest `most` offsets of each partition of a topic.

    Offsets do not give the number, because transaction markers and aborted records take offsets too.

    Returns
    -------
    Counted
        Exactly 0 if there is no topic.
    """
    topic, records, exact = _topic(names, kind), 0, True
    with closing(cluster.consumer()) as consumer:
        if topic not in consumer.topics():
            return Counted(0, exact=True)
        partitions = partitions_of(consumer, topic)
        begins = consumer.beginning_offsets(partitions)
        for partition, end in consumer.end_offsets(partitions).items():
            start = max(begins[partition], end - most)
            exact = exact and start == begins[partition]
            records += sum(1 for _ in filterfalse(is_note, between(consumer, partition, start, end)))
    return Counted(records, exact)


def is_note(record: Record) -> bool:
    """Return whether a record of the dead-letters topic is a note that letters were sent back, not a letter."""
    return record.value is None and replayed(record) is not None


def merged(rows: Sequence[Row]) -> list[Row]:
    """Return rows of several partitions in the order of the broker's time, keeping each partition's order."""
    by_partition: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_partition[row["partition"]].append(row)
    return list(heapq.merge(*by_partition.values(), key=lambda row: row["timestamp"]))


def _topic(names: Names, kind: str) -> str:
    """Return the topic of rows of this kind; for predictions, the topic of whole ones."""
    return names.whole if kind == "predictions" else names.topic(kind)


def partitions_of(consumer: Consumer, topic: str) -> list[Partition]:
    """Return the partitions of a topic, in order. Raises MissingTopic."""
    # Unlike partitions_for_topic, this sends a request to the cluster.
    if topic not in consumer.topics():
        raise MissingTopic(f"there is no topic {topic}: create the stream's with `millstream topics create STREAM`")
    return [Partition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]


def _all(consumer: Consumer, ends: dict[Partition, int]) -> Iterator[Record]:
    """Yield the records before `ends`, one partition after the other."""
    begins = consumer.beginning_offsets(list(ends))
    for partition, end in sorted(ends.items()):
        yield from between(consumer, partition, begins[partition], end)


def between(consumer: Consumer, partition: Partition, begin: int, end: int) -> Iterator[Record]:
    """Yield the committed records from `begin` up to `end`, without markers and holes.

    At its end no partition is assigned; a caller that stops earlier leaves this one assigned.
    """
    consumer.assign([partition])
    consumer.seek(partition, begin)
    beyond = False
    while not beyond and consumer.position(partition) < end:
        for record in consumer.poll(timeout_ms=_POLL_MS).get(partition, ()):
            if beyond := record.offset >= end:
                break
            yield record
    consumer.assign(())  # else librdkafka asks for more all the time, and other questions wait behind that


def _newest(consumer: Consumer, ends: dict[Partition, int], count: int) -> list[Record]:
    """Return the newest `count` committed records over all partitions, oldest first; notes do not count."""
    if count <= 0:
        return []
    begins = consumer.beginning_offsets(list(ends))
    tails: list[list[Record]] = []
    for partition, end in ends.items():
        back = _BACK * count
        while True:
            start = max(begins[partition], end - back)
            tail = deque(filterfalse(is_note, between(consumer, partition, start, end)), maxlen=count)
            if len(tail) == count or start == begins[partition]:
                break
            back *= 4
        tails.append(list(tail))
    newest = list(heapq.merge(*tails, key=lambda record: record.timestamp))
    return newest[-count:]


# --- rows ------------------------------------------------------------------------------------------


def place_of(record: Record) -> Row:
    """Return partition and offset of a record, and its broker time (ms)."""
    return {"partition": record.partition, "offset": record.offset, "timestamp": record.timestamp}


def _unreadable(record: Record, error: CodecError) -> Row:
    """Return the row of an invalid record, so that a single one does not hide the others."""
    return {**place_of(record), "event_id": None, "unreadable": str(error), "value": text_of(record.value)}


def text_of(data: bytes | None) -> str | None:
    """Return bytes as text, with invalid UTF-8 bytes in hex."""
    return None if data is None else data.decode(errors="backslashreplace")


def _event(event: Event) -> Row:
    return {
        "event_id": event.event_id,
        "event_time": event.event_time,
        "entity_key": event.entity_key,
        "features": event.features,
    }


def _outcome(outcome: Outcome | None) -> Row:
    if outcome is None:
        return {"prediction": None, "probabilities": None, "version": None}
    return {
        "prediction": outcome.prediction,
        "probabilities": outcome.probabilities,
        "version": outcome.version if outcome.epoch >= 0 else None,
        "model": outcome.model,
        "status": outcome.status,
        "error": None if outcome.error is None else {"code": outcome.error.code, "message": outcome.error.message},
        "role": outcome.role,
        "predicted_at": outcome.predicted_at,
        "source": {
            "topic": outcome.source_topic,
            "partition": outcome.source_partition,
            "offset": outcome.source_offset,
        },
    }


def prediction_row(record: Record) -> Row:
    """Return the row of a Prediction with its partition and offset; times in ms since 1970."""
    try:
        found = events.read_prediction(record.value or b"")
    except CodecError as error:
        return _unreadable(record, error)
    return {**place_of(record), **_event(found.event), **_outcome(found.outcome)}


def example_row(record: Record) -> Row:
    """Return the row of an Example: `label` is the label's value, `lane` and `sequence` its position in its lane."""
    try:
        found = events.read_example(record.value or b"")
    except CodecError as error:
        return _unreadable(record, error)
    label, joined = found.label, found.joined
    return {
        **place_of(record),
        "lane": found.lane.name,
        "lane_epoch": found.lane.epoch,
        "sequence": found.lane.sequence,
        **_event(found.event),
        "label": None if label is None else label.value,
        "weight": None if label is None else label.weight,
        "label_time": None if label is None else label.label_time,
        "label_source": None if label is None else label.source,
        "kind": None if label is None else label.kind,
        **_outcome(found.outcome),
        "joined": None
        if joined is None
        else {
            "partition": joined.partition,
            "prediction_offset": joined.prediction_offset,
            "prediction_time": joined.prediction_time,
            "label_offset": joined.label_offset,
            "label_time": joined.label_time,
        },
    }


def dead_letter_row(record: Record) -> Row:
    """Return the row of a DeadLetter: `from` is the origin of the record it holds, key and value are text.

    Of a record with private features the value and the headers are not shown.
    """
    try:
        found = read_dead_letter(record.value or b"")
    except CodecError as error:
        return _unreadable(record, error)
    private = is_private(record)
    return {
        **place_of(record),
        "stage": found.stage,
        "code": found.code,
        "reason": found.reason,
        "from": {
            "topic": found.topic,
            "partition": found.partition,
            "offset": found.offset,
            "timestamp": found.timestamp,
        },
        "key": text_of(found.key),
        "value": MASK if private else text_of(found.value),
        "value_hex": None if found.value is None or private else found.value.hex(),
        "headers": [{"name": name, "value": MASK if private else text_of(value)} for name, value in found.headers],
        "at": found.at,
    }


def is_private(record: Record) -> bool:
    """Return whether a dead letter holds a record whose values are not shown."""
    return any(name == PRIVATE for name, _ in record.headers)


def alert_row(record: Record) -> Row:
    """Return the row of an Alert, or of a decision about one, with its partition and offset."""
    try:
        found = read_alert_record(record.value or b"")
    except CodecError as error:
        return _unreadable(record, error)
    return {**place_of(record), **fields_of(found)}


ROWS: Final[dict[str, Callable[[Record], Row]]] = {
    "predictions": prediction_row,
    "examples": example_row,
    "dead-letters": dead_letter_row,
    "alerts": alert_row,
}
