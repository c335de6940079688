"""Windows of the profiles topic for reports: each stretch of time once, in the finest there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Final

import msgspec

from consumers.monitor.windows import EXAMPLES, PREDICTIONS
from millstream.reading import topic_readers
from runtime.kafka_client.cluster import Cluster
from schemas.codec import CodecError
from schemas.profiles import Window, read_window
from schemas.topics import PROFILES, Names

Progress = Callable[[int, int | None], None]
_SHOW_EVERY: Final = 100


class WatchedLog:
    """What the monitor has written of a stream, up to the end that the topic has now.

    Attributes
    ----------
    examples, predictions
        Windows in the order of time, none overlapping another of the same partition; without profiles.
    clock
        The newest of the broker's times in any window (ms).
    """

    def __init__(self, windows: Iterable[Window]) -> None:
        found = list(windows)
        self.examples = finest([each for each in found if each.kind == EXAMPLES])
        self.predictions = finest([each for each in found if each.kind == PREDICTIONS])
        self.clock = max((each.last_time for each in found), default=0)


def read_windows(cluster: Cluster, names: Names, show: Progress) -> list[Window]:
    """Return all windows of the topic, without profiles. Raises MissingTopic."""
    found: dict[bytes, Window] = {}
    with closing(cluster.consumer(max_partition_fetch_bytes=4 << 20)) as consumer:
        (place,) = topic_readers.partitions_of(consumer, names.topic(PROFILES))[:1]
        begin, end = consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]
        for record in topic_readers.between(consumer, place, begin, end):
            if record.offset % _SHOW_EVERY == 0:
                show(record.offset - begin, end - begin)
            key = record.key or b""
            if record.value is None:
                found.pop(key, None)
                continue
            try:
                window = read_window(record.value)
            except CodecError:
                continue  # any client can write to a topic; the monitor tells of it
            found[key] = msgspec.structs.replace(window, profiles={}, pairs=None)
    return list(found.values())


def finest(windows: Sequence[Window]) -> list[Window]:
    """Return the finest windows, and longer ones where these no longer hold all of the events.

    The monitor merges windows into hours and days, and deletes the short ones when they are old.
    """
    chosen: list[Window] = []
    for span in sorted({each.span for each in windows}):
        events: defaultdict[int, int] = defaultdict(int)
        for each in chosen:
            events[each.start // span] += each.events
        longer = [each for each in windows if each.span == span]
        held: defaultdict[int, int] = defaultdict(int)
        for each in longer:
            held[each.start // span] += each.events
        better = {at for at, count in held.items() if count > events[at]}
        chosen = [each for each in chosen if each.start // span not in better]
        chosen += [each for each in longer if each.start // span in better]
    return sorted(chosen, key=lambda each: (each.start, each.span, each.partition, each.first_offset))
