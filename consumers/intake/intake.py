"""The intake role: maps labels of external topics onto the stream's own labels topic.

One transaction commits the labels it wrote and the offsets it has read, so each message becomes a label exactly once.
The intake keeps no state of its own: its counts are stored in the metadata of the committed offsets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from consumers.intake.offset_metadata import IntakeMetadata
from consumers.loop.dead_letters import dead_letter
from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import short_ids
from consumers.loop.processor import Assignment, Start
from consumers.loop.start_offsets import Starts
from consumers.roles import INTAKE
from runtime.exits import RoleRefused
from runtime.kafka_client import size_limits
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions, Record
from schemas.codec import CodecError
from schemas.sources.label_mapping import LabelMapping
from schemas.sources.message_fields import Unmapped
from schemas.target import Target, TargetError
from schemas.topics import KINDS, Names, partition_of

_MOST_TO_READ: Final = 4 * size_limits.EVENT  # an external message may be as large as one that predictors read
Fate = Literal["mapped", "skipped", "refused"]


@dataclass(frozen=True)
class IntakeSettings:
    """Settings of an intake.

    Attributes
    ----------
    spread
        The number of label partitions that event ids are spread over: the topic's partition count when the stream
        began.
    new_epoch
        Continue although a topic is no longer the one that the intake left, instead of refusing.
    """

    names: Names
    target: Target
    spread: int
    new_epoch: bool = False


class Intake:
    """The `Processor` of the intake. Its counts are its only state.

    Parameters
    ----------
    mappings
        One topic may have several mappings: each of them reads every message.
    say
        Prints one line for the operator.
    memory
        Remembers which topics were read last, and up to which offset.

    Raises
    ------
    RoleRefused
        If a source is one of the stream's own topics: the intake would read its own output.
    """

    def __init__(
        self,
        settings: IntakeSettings,
        mappings: Sequence[LabelMapping],
        clock: Callable[[], int] | None = None,
        say: Callable[[str], None] = print,
        memory: TopicMemory | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._memory = memory or TopicMemory()
        self._labels = settings.names.topic("labels")
        self._dead_letters = settings.names.topic("dead-letters")
        self._mappings: dict[str, list[LabelMapping]] = {}
        for mapping in mappings:
            self._mappings.setdefault(mapping.source.topic, []).append(mapping)
        at_end = {topic for topic, read_by in self._mappings.items() if read_by[0].source.start == "end"}
        self._starts = Starts(INTAKE, IntakeMetadata, self._memory, at_end, settings.new_epoch, say)
        self._topic_ids: dict[str, str] = {}
        self._notes: dict[Partition, IntakeMetadata] = {}
        own = {settings.names.topic(kind) for kind in KINDS if kind != "features"}
        if looped := own.intersection(self._mappings):
            raise RoleRefused(
                f"Labels(sources=…) names {min(looped)}, the stream's own topic: its labels are read anyway, "
                "so leave it out"
            )

    @property
    def topics(self) -> Sequence[str]:
        return tuple(self._mappings)

    @property
    def overlaps(self) -> bool:
        return True

    # --- assignment --------------------------------------------------------------------------------

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._topic_ids = {topic: short_ids(assignment.topic_ids[topic]) for topic in self._mappings}
        starts, self._notes = self._starts.take(assignment)
        return starts

    def recover(self, batch: Batch) -> None:
        """Never called: there is nothing to recover."""

    def recovered(self) -> None:
        """Nothing to recover."""

    # --- messages ----------------------------------------------------------------------------------

    def process(self, batch: Batch) -> list[Output]:
        now = self._clock()
        outputs: list[Output] = []
        for partition, records in batch.items():
            fates = [self._take(record, now, outputs) for record in records]
            note = self._notes[partition]
            note.mapped += fates.count("mapped")
            note.skipped += fates.count("skipped")
            note.refused += fates.count("refused")
        return outputs

    def _take(self, record: Record, now: int, outputs: list[Output]) -> Fate:
        """Add a message's labels, or its dead letter, to `outputs`; return which of these happened."""
        failure: Unmapped | None = None
        before = len(outputs)
        for mapping in self._mappings[record.topic]:
            try:
                outputs += self._label(mapping, record)
            except Unmapped as error:
                failure = failure or error
        if failure is not None:
            outputs.append(dead_letter(self._dead_letters, record, INTAKE, failure.code, str(failure), now))
            return "refused"
        return "mapped" if len(outputs) > before else "skipped"

    def _label(self, mapping: LabelMapping, record: Record) -> list[Output]:
        size = len(record.value or b"")
        if size > _MOST_TO_READ:
            raise Unmapped("size", f"the message has {size} bytes; at most {_MOST_TO_READ} are taken")
        label = mapping.label(record)
        if label is None:
            return []
        try:
            # Checked here and not by the joiner, because the dead letter must hold the original message.
            self._settings.target.coerce(label.value)
            value = label.encode()
        except TargetError as error:
            raise Unmapped("label", str(error)) from error
        except CodecError as error:
            raise Unmapped("codec", str(error)) from error
        if len(value) > size_limits.LABEL:
            raise Unmapped("size", f"the label has {len(value)} bytes; at most {size_limits.LABEL} are taken")
        right = partition_of(label.event_id, self._settings.spread)
        return [Output(self._labels, right, label.event_id.encode(), value)]

    # --- ticks, offsets, shutdown ------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Output]:
        return []

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        return {
            partition: CommittedOffset(offset, self._notes[partition].encode()) for partition, offset in read.items()
        }

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        for topic, topic_id in self._topic_ids.items():
            offsets = {at.partition: place.offset for at, place in places.items() if at.topic == topic}
            if offsets:
                self._memory.remember(topic, topic_id, offsets)

    def paused(self) -> frozenset[Partition]:
        return frozenset()

    def stopping(self) -> list[Output]:
        return []

    def close(self) -> None:
        """Save the topics and offsets read so far."""
        self._memory.write()
