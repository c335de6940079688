"""A Kafka in memory, and a loop over it that can crash between any two effects.

It keeps what the processors rely on: order within a partition, transactions that happen whole or not at
all, the broker's time on every record, and committed places with their metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from consumers.processor import Anew, Assignment, Output, Partition, Place, Processor


class LoggedRecord(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Crash(Exception):  # noqa: N818
    """The process died here."""


@dataclass
class MemoryLog:
    """Topics, groups, and one broker's clock (ms)."""

    partitions: Mapping[str, int]
    now: int = 1_000_000
    records: dict[Partition, list[LoggedRecord]] = field(default_factory=dict)
    places: dict[tuple[str, Partition], Place] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for topic, count in self.partitions.items():
            self.ids.setdefault(topic, f"id-of-{topic}")
            for number in range(count):
                self.records.setdefault(Partition(topic, number), [])

    def append(self, output: Output) -> LoggedRecord:
        held = self.records[Partition(output.topic, output.partition)]
        record = LoggedRecord(output.topic, output.partition, len(held), self.now, output.key, output.value)
        held.append(record)
        return record

    def commit(self, group: str, outputs: Sequence[Output], places: Mapping[Partition, Place]) -> None:
        """One transaction: all of it, at one moment."""
        for partition, place in places.items():
            before = self.places.get((group, partition))
            assert before is None or place.offset >= before.offset, f"{partition} went back"
        for output in outputs:
            self.append(output)
        for partition, place in places.items():
            self.places[group, partition] = place

    def read(self, topic: str) -> list[LoggedRecord]:
        return [
            record for partition, held in sorted(self.records.items()) if partition.topic == topic for record in held
        ]


class SimulatedLoop:
    """What `consumers.loop.Loop` does, over a `MemoryLog`, one step at a time.

    Parameters
    ----------
    crash
        Asked, by the name of the place, whether to die there.
    """

    def __init__(
        self, log: MemoryLog, group: str, processor: Processor, crash: Callable[[str], bool] = lambda place: False
    ) -> None:
        self._log = log
        self._group = group
        self._processor = processor
        self._crash = crash
        self._read: dict[Partition, int] = {}
        self._settle()

    def _die_if(self, place: str) -> None:
        if self._crash(place):
            raise Crash(place)

    def _settle(self) -> None:
        log = self._log
        assigned = [partition for partition in sorted(log.records) if partition.topic in self._processor.topics]
        committed = {partition: log.places.get((self._group, partition)) for partition in assigned}
        starts = self._processor.assigned(
            Assignment(
                committed,
                dict.fromkeys(assigned, 0),
                {partition: len(log.records[partition]) for partition in assigned},
                {topic: log.ids[topic] for topic in self._processor.topics},
            )
        )
        for partition, start in starts.items():
            behind = start.recover_from
            if start.recover_since is not None:
                later = [r.offset for r in log.records[partition] if r.timestamp >= start.recover_since]
                behind = later[0] if later else None
            while behind is not None and behind < start.live:
                until = min(behind + 3, start.live)
                self._processor.recover({partition: log.records[partition][behind:until]})
                behind = until
                self._die_if("recovering")
            self._read[partition] = start.live
        self._processor.recovered()

    def step(self, take: Mapping[str, int]) -> None:
        """One turn that reads at most `take[topic]` records of each partition."""
        log, processor = self._log, self._processor
        batch: dict[Partition, Any] = {}
        for partition in self._read:
            if partition in processor.paused():
                continue
            start = self._read[partition]
            found = log.records[partition][start : start + take.get(partition.topic, 0)]
            if found:
                batch[partition] = found
                self._read[partition] = start + len(found)
        self._die_if("polled")
        try:
            outputs = processor.process(batch) if batch else []
            self._die_if("processed")
            outputs += processor.tick(log.now)
        except Anew:
            self._settle()
            return
        places = processor.places(dict(self._read))
        self._die_if("before the commit")
        log.commit(self._group, outputs, places)
        self._die_if("between the log's commit and the local one")
        processor.committed(places)
        self._die_if("committed")

    def end(self) -> None:
        """End in order, as a signal makes the loop do."""
        outputs = self._processor.stopping()
        places = self._processor.places(dict(self._read))
        self._log.commit(self._group, outputs, places)
        self._processor.committed(places)

    def idle(self) -> bool:
        """Whether everything there is has been read."""
        return all(at == len(self._log.records[partition]) for partition, at in self._read.items())
