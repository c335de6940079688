"""A Kafka in memory, and a loop over it that can crash between any two effects.

It keeps what the processors rely on: order within a partition, transactions that happen whole or not at
all, the broker's time on every record, committed places with their metadata, one owner of each partition
in a group, and an id for each topic that another of the same name does not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from consumers.loop.processor import Anew, Assignment, Processor
from runtime.kafka_client.records import CommittedOffset, Output, Partition


class LoggedRecord(NamedTuple):
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


Overlap = Literal["never", "early", "late"]


class Turn(NamedTuple):
    """A turn whose transaction has begun; `settled` once it has taken effect at the broker."""

    outputs: Sequence[Output]
    places: Mapping[Partition, CommittedOffset]
    settled: bool


class Crash(Exception):  # noqa: N818
    """The process died here."""


class FencedOff(Exception):  # noqa: N818
    """The broker refused the transaction: another process has a partition of this one's by now."""


@dataclass
class MemoryLog:
    """Topics, groups, and one broker's clock (ms).

    Attributes
    ----------
    gone
        Records of topics that were deleted.
    damage
        Given the outputs of each transaction; what it returns is what the broker keeps.
    """

    partitions: Mapping[str, int]
    now: int = 1_000_000
    records: dict[Partition, list[LoggedRecord]] = field(default_factory=dict)
    places: dict[tuple[str, Partition], CommittedOffset] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    gone: dict[str, list[LoggedRecord]] = field(default_factory=dict)
    damage: Callable[[Sequence[Output]], Sequence[Output]] | None = None
    _owners: dict[tuple[str, Partition], object] = field(default_factory=dict)
    _made: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for topic, count in self.partitions.items():
            self.ids.setdefault(topic, f"id-of-{topic}")
            for number in range(count):
                self.records.setdefault(Partition(topic, number), [])

    def grow(self, topic: str, more: int = 1) -> None:
        """Add partitions to a topic."""
        count = self.count(topic)
        for number in range(count, count + more):
            self.records[Partition(topic, number)] = []

    def count(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        return sum(partition.topic == topic for partition in self.records)

    def append(self, output: Output) -> LoggedRecord:
        held = self.records[Partition(output.topic, output.partition)]
        record = LoggedRecord(output.topic, output.partition, len(held), self.now, output.key, output.value)
        held.append(record)
        return record

    def own(self, group: str, partitions: Collection[Partition], owner: object) -> None:
        """Give partitions of a group to a process; who had them is fenced."""
        for partition in partitions:
            self._owners[group, partition] = owner

    def owns(self, group: str, partitions: Collection[Partition], owner: object) -> bool:
        return all(self._owners.get((group, partition)) is owner for partition in partitions)

    def commit(
        self,
        group: str,
        outputs: Sequence[Output],
        places: Mapping[Partition, CommittedOffset],
        back: Collection[Partition] = (),
    ) -> None:
        """One transaction: all of it, at one moment. Only the places of `back` may go back."""
        for partition, place in places.items():
            before = self.places.get((group, partition))
            assert before is None or partition in back or place.offset >= before.offset, f"{partition} went back"
        if self.damage is not None:
            outputs = self.damage(outputs)
        for output in outputs:
            self.append(output)
        for partition, place in places.items():
            self.places[group, partition] = place

    def recreate(self, topic: str, with_places: bool) -> None:
        """Delete a topic and make it again; `with_places`: the broker forgets the groups' places in it too."""
        self._made[topic] += 1
        self.ids[topic] = f"id-of-{topic}-{self._made[topic]}"
        for partition, held in self.records.items():
            if partition.topic == topic:
                self.gone.setdefault(topic, []).extend(held)
                held.clear()
        if with_places:
            self.places = {key: place for key, place in self.places.items() if key[1].topic != topic}

    def read(self, topic: str) -> list[LoggedRecord]:
        return [
            record for partition, held in sorted(self.records.items()) if partition.topic == topic for record in held
        ]

    def ever(self, topic: str) -> list[LoggedRecord]:
        """Return what was ever written there, deleted topics of the name included."""
        return self.gone.get(topic, []) + self.read(topic)


class SimulatedLoop:
    """What `consumers.loop.loop.Loop` does, over a `MemoryLog`, one step at a time.

    Parameters
    ----------
    crash
        Asked, by the name of the place, whether to die there.
    share
        Which partition numbers are this process's; all of them where it is not given.
    overlap
        While records wait, a turn's commit overlaps with the next turn, if the processor allows it. Its transaction
        takes effect before the next turn or after it; between the two the process can die or sleep.
    """

    def __init__(
        self,
        log: MemoryLog,
        group: str,
        processor: Processor,
        crash: Callable[[str], bool] = lambda place: False,
        share: Collection[int] | None = None,
        clock: Callable[[], int] | None = None,
        overlap: Overlap = "never",
    ) -> None:
        self._log = log
        self._overlap = overlap
        self._in_flight: Turn | None = None
        self.overlapped = 0
        self._group = group
        self._processor = processor
        self._crash = crash
        self._clock = clock or (lambda: log.now)
        self._back: set[Partition] = set()
        self._read: dict[Partition, int] = {}
        self._share = share
        self.settle(share)

    def _die_if(self, place: str) -> None:
        if self._crash(place):
            raise Crash(place)

    def settle(self, share: Collection[int] | None = None) -> None:
        """Take an assignment over, as at the start and after every rebalance."""
        log = self._log
        assigned = [
            partition
            for partition in sorted(log.records)
            if partition.topic in self._processor.topics and (share is None or partition.partition in share)
        ]
        self._read, self._share = {}, share
        log.own(self._group, assigned, self)
        committed = {partition: log.places.get((self._group, partition)) for partition in assigned}
        starts = self._processor.assigned(
            Assignment(
                committed,
                dict.fromkeys(assigned, 0),
                {partition: len(log.records[partition]) for partition in assigned},
                {topic: log.ids[topic] for topic in self._processor.topics},
                others=self._others(committed),
            )
        )
        self._back = {partition for partition, start in starts.items() if start.back}
        for partition, start in starts.items():
            behind = start.recover_from
            if start.recover_since is not None:
                later = [r.offset for r in log.records[partition][start.least :] if r.timestamp >= start.recover_since]
                behind = later[0] if later else None
            while behind is not None and behind < start.live:
                until = min(behind + 3, start.live)
                self._processor.recover({partition: log.records[partition][behind:until]})
                behind = until
                self._die_if("recovering")
        self._processor.recovered()
        self._read = {partition: start.live for partition, start in starts.items()}

    def _others(self, committed: Mapping[Partition, CommittedOffset | None]) -> dict[Partition, CommittedOffset | None]:
        log = self._log
        new = {partition.topic for partition, place in committed.items() if place is None}
        rest = [partition for partition in log.records if partition.topic in new and partition not in committed]
        return {partition: log.places.get((self._group, partition)) for partition in rest}

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
            self.overlapped += bool(batch and self._in_flight)
            self.land()
            outputs += processor.tick(self._clock())
        except Anew:
            self.land()
            self.settle(self._share)
            return
        places = processor.places(dict(self._read))
        self._die_if("before the commit")
        if self._overlap == "never" or not processor.overlaps or not self._waiting():
            self._in_flight = Turn(outputs, places, settled=False)
            self.land()
            return
        if self._overlap == "early":
            self._commit(outputs, places)
        self._in_flight = Turn(outputs, places, settled=self._overlap == "early")

    def land(self) -> None:
        """End the commit in flight, if there is one."""
        turn, self._in_flight = self._in_flight, None
        if turn is None:
            return
        if not turn.settled:
            self._commit(turn.outputs, turn.places)
        self._die_if("between the log's commit and the local one")
        self._processor.committed(turn.places)
        self._die_if("committed")

    def _commit(self, outputs: Sequence[Output], places: Mapping[Partition, CommittedOffset]) -> None:
        if not self._log.owns(self._group, self._read, self):
            raise FencedOff
        self._log.commit(self._group, outputs, places, self._back)
        self._back.clear()

    def end(self) -> None:
        """End in order, as a signal makes the loop do."""
        self.land()
        outputs = self._processor.stopping()
        places = self._processor.places(dict(self._read))
        self._commit(outputs, places)
        self._processor.committed(places)

    def idle(self) -> bool:
        """Whether everything there is has been read and committed."""
        return self._in_flight is None and not self._waiting()

    def _waiting(self) -> bool:
        return any(at < len(self._log.records[partition]) for partition, at in self._read.items())
