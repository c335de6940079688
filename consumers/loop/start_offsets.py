"""Start offsets of a role without state: its committed offset, or the start of a new reader.

Such a role writes metadata with each offset, by which it recognises the topic later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import LogFault, LogRefused, fault_of, short_ids, way
from consumers.loop.processor import Assignment, Start
from runtime.kafka_client.records import CommittedOffset, Partition


class TopicNote(Protocol):
    """Fields of the role's metadata that the start offset depends on.

    Attributes
    ----------
    topic_id
        Short hash of the topic's id.
    gone
        Number of offsets of the partition that were deleted before they were read.
    begun
        Number of partitions of the topic when the group began at its end; 0 if it did not begin there.
    """

    topic_id: str
    gone: int
    begun: int

    @classmethod
    def decode(cls, text: str) -> Self | None: ...


NoteT = TypeVar("NoteT", bound=TopicNote)


@dataclass(frozen=True)
class Starts(Generic[NoteT]):
    """Chooses the start offset of each partition of an assignment.

    Attributes
    ----------
    note
        Class of the role's metadata.
    memory
        Ids of the topics read last, and the last offsets.
    at_end
        Topics that a new group begins to read at their end.
    new_epoch
        Continue although a topic is no longer the one that the role left, instead of refusing.
    say
        Prints one line for the operator.
    """

    role: str
    note: type[NoteT]
    memory: TopicMemory
    at_end: Collection[str]
    new_epoch: bool
    say: Callable[[str], None]

    def take(self, assignment: Assignment) -> tuple[dict[Partition, Start], dict[Partition, NoteT]]:
        """Return the start and the metadata of each partition.

        Raises
        ------
        LogRefused
            If a topic is no longer the one that the role left, unless `new_epoch` is set.
        """
        ids = {topic: short_ids(topic_id) for topic, topic_id in assignment.topic_ids.items()}
        begun = {topic: self._begun(topic, topic_id, assignment) for topic, topic_id in ids.items()}
        starts: dict[Partition, Start] = {}
        notes: dict[Partition, NoteT] = {}
        faults: list[LogFault] = []
        for partition, place in assignment.committed.items():
            topic_id = ids[partition.topic]
            note = self._read(place)
            if place is None:
                note.begun = begun[partition.topic]
            elif note.topic_id != topic_id:
                note.begun = 0
            starts[partition] = Start(self._first(partition, note, assignment) if place is None else place.offset)
            fault = self._fault(partition, place, note.topic_id, topic_id, assignment)
            if fault is not None:
                faults.append(fault)
                note.gone += 0 if fault.state == "truncated" else fault.gone
                starts[partition] = Start(fault.onward, back=True)
            note.topic_id = topic_id
            notes[partition] = note
        self._judge(faults)
        return starts, notes

    def _judge(self, faults: list[LogFault]) -> None:
        if faults and not self.new_epoch:
            raise LogRefused(faults, way(self.role))
        for fault in faults:
            self.say(f"{fault}. Continuing because of --new-epoch")

    def _read(self, place: CommittedOffset | None) -> NoteT:
        # Metadata of another tool, which moved the offset on purpose, is ignored.
        return (None if place is None else self.note.decode(place.metadata)) or self.note()

    def _begun(self, topic: str, topic_id: str, assignment: Assignment) -> int:
        """Return how many partitions the topic had when any member of the group began at its end."""
        everybodys = {**assignment.others, **assignment.committed}
        places = [place for partition, place in everybodys.items() if partition.topic == topic]
        notes = [self._read(place) for place in places if place is not None]
        if notes:
            return min(note.begun if note.topic_id == topic_id else 0 for note in notes)
        return len(places) if topic in self.at_end and not self.memory.id_of(topic) else 0

    def _first(self, partition: Partition, note: NoteT, assignment: Assignment) -> int:
        """Return the start offset in a partition without a committed offset.

        A partition that was added after the group began is read from its beginning, so that no record before its
        discovery is skipped. Which partitions have committed offsets does not show which ones were added: members
        begin together, and one may commit before another asks.
        """
        if partition.topic in self.at_end and partition.partition < note.begun:
            return assignment.ends[partition]
        return assignment.beginnings[partition]

    def _fault(
        self, partition: Partition, place: CommittedOffset | None, wrote: str, topic_id: str, assignment: Assignment
    ) -> LogFault | None:
        beginning, end = assignment.beginnings[partition], assignment.ends[partition]
        knew = wrote if place is not None else self.memory.id_of(partition.topic)
        if knew and knew != topic_id:
            offset = None if place is None else place.offset
            return LogFault(self.role, "recreated", *partition, offset, beginning, end)
        if place is not None:
            return fault_of(self.role, partition, place.offset, beginning, end)
        was = self.memory.place_of(partition.topic, topic_id, partition.partition)
        return None if was is None else LogFault(self.role, "forgotten", *partition, was, beginning, end)
