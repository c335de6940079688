"""A consumer over lists of records, for what reads parts of a log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from runtime.kafka_client.records import Partition, PlainRecord


class LogConsumer:
    """The part of a `Consumer` that reads: partitions whose offsets may begin late, and have holes."""

    def __init__(self, records: Iterable[PlainRecord], empty: Sequence[Partition] = (), markers: int = 0) -> None:
        self.log: dict[Partition, list[PlainRecord]] = {at: [] for at in empty}
        for record in records:
            self.log.setdefault(Partition(record.topic, record.partition), []).append(record)
        self.markers = markers
        self.places: dict[Partition, int] = {}
        self.polled = 0

    def topics(self) -> set[str]:
        return {at.topic for at in self.log}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {at.partition for at in self.log if at.topic == topic}

    def beginning_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        return {at: self.log[at][0].offset if self.log[at] else 0 for at in partitions}

    def end_offsets(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        return {at: self.log[at][-1].offset + 1 + self.markers if self.log[at] else 0 for at in partitions}

    def offsets_for_times(self, times: Mapping[Partition, int]) -> dict[Partition, int | None]:
        return {
            at: next((record.offset for record in self.log[at] if record.timestamp >= time), None)
            for at, time in times.items()
        }

    def assign(self, partitions: Iterable[Partition]) -> None:
        self.places = dict.fromkeys(partitions, 0)

    def seek(self, partition: Partition, offset: int) -> None:
        self.places[partition] = offset

    def position(self, partition: Partition) -> int:
        return self.places[partition]

    def poll(self, timeout_ms: int = 0) -> dict[Partition, list[PlainRecord]]:
        del timeout_ms
        found = {}
        for at, place in self.places.items():
            records = [each for each in self.log[at] if each.offset >= place][:100]
            self.places[at] = records[-1].offset + 1 if len(records) == 100 else self.end_offsets([at])[at]
            self.polled += len(records)
            found[at] = records
        return found

    def close(self) -> None:
        self.places = {}
