"""Reading of a range of the examples log for a training, paced so that the loop does not notice."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING, Final

from millstream.estimators.fitting import CannotTrain
from millstream.reading import topic_readers
from millstream.reading.range_reader import Overtaken, RangeReader
from millstream.stream.processor_rules import learning_rules
from millstream.stream.slices import SliceReader
from millstream.training.collecting import Collector
from millstream.training.limits import Memory, held

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream.stream.batch import BatchModel
    from millstream.stream.stream import Stream
    from runtime.kafka_client.cluster import Cluster
    from runtime.kafka_client.records import Record
    from schemas.topics import Names

_TOGETHER: Final = 500
_SHARE: Final = 0.5  # of the time in which it works; in the rest the broker serves the loop alone
_LONGEST_PAUSE: Final = 0.2
_GUESSED_FROM: Final = 20_000


def collected(
    stream: Stream,
    model: BatchModel,
    records: Iterable[Sequence[Record]],
    count: int,
    memory: Memory | None,
    progress: Callable[[int, int, str], None],
) -> Collector:
    """Return the examples in the records of a range that spans `count` offsets.

    Raises
    ------
    CannotTrain
        If they do not fit into memory.
    """
    slices = SliceReader(stream.slices) if stream.slices else None
    collector = Collector(learning_rules(stream), model.most, model.seed, slices)
    before, read, guessed = held(), 0, False
    for several in records:
        collector.take(several)
        read += len(several)
        progress(read, count, "reading the log")
        have = len(collector.examples)
        if memory is not None and not guessed and have >= _GUESSED_FROM:
            guessed = True
            rest = min(model.most, have * count / read) - have
            memory.check(f"a range of {count} offsets", rest * (held() - before) / have)
    return collector


def read_range(cluster: Cluster, names: Names, topic_id: str, begin: int, end: int) -> Iterator[Sequence[Record]]:
    """Yield the records of a range of the examples log, in pieces.

    Raises
    ------
    CannotTrain
        If the log is another one, or the range has been deleted.
    KafkaError
        If the broker does not answer.
    """
    topic = names.topic("examples")
    found = cluster.topic_info(topic).get(topic)
    if found is None or found.id != topic_id:
        raise CannotTrain(f"{topic} is not the log that the job was asked for: ask for another job")
    with closing(cluster.consumer()) as consumer:
        lowest = topic_readers.begin(consumer, topic)
    if lowest > begin:
        raise CannotTrain(_deleted(topic, lowest, begin))
    with closing(RangeReader(cluster, topic, {0: begin}, {0: end})) as reader:
        try:
            yield from paced(reader.as_it_comes(Event(), _TOGETHER))
        except Overtaken as error:
            raise CannotTrain(_deleted(topic, lowest, begin)) from error


def paced(pieces: Iterable[Sequence[Record]]) -> Iterator[Sequence[Record]]:
    """Yield pieces, and pause after each as long as it took to take it in."""
    for piece in pieces:
        began = time.monotonic()
        yield piece
        worked = time.monotonic() - began
        if piece:
            time.sleep(min(_LONGEST_PAUSE, worked * (1.0 - _SHARE) / _SHARE))


def _deleted(topic: str, lowest: int, begin: int) -> str:
    return (
        f"{topic} begins at offset {lowest}, after the {begin} of the job's range: retention has taken what lies "
        "between; ask for another job"
    )
