"""Offset metadata of a trainer: what it works on, the last record that it has written, and its counts."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import TRAINER


class Written(msgspec.Struct, frozen=True, array_like=True):
    """The last state of a job that this group has written."""

    id: str
    state: str
    attempt: int


class Working(msgspec.Struct, frozen=True, array_like=True):
    """The job that is being trained, since when (ms), and how far it is."""

    id: str
    model: str
    attempt: int
    since: int
    done: int = 0
    of: int = 0


@decodable
class TrainerMetadata(OffsetMetadata):
    """Metadata of the trainer's committed offset; `topic_id`, `gone` and `begun` as in `consumers.loop.start_offsets`.

    All else is only on the jobs topic.

    Attributes
    ----------
    models
        Names of the stream's batch models.
    slots
        Slot of each model with a schedule (ms): the newest that has begun before the model had a trainer, or for which
        a job was asked.
    written
        The last record written. A process that takes over decides nothing before it has read that record: an open
        transaction of another writer can hide it for a while.
    working
        The job that is being trained, `None` if there is none.
    waiting
        Number of other jobs that have not ended.
    trained, failed, cancelled, attempts, deployed
        How many jobs have ended so; how often a training was begun; how many versions were promoted at once.
    alerts
        Names of the raised alerts.
    """

    role: ClassVar[str] = TRAINER
    by_topic: ClassVar[bool] = True

    topic_id: str = msgspec.field(default="", name="t")
    gone: int = 0
    begun: int = 0
    models: list[str] = msgspec.field(default_factory=list)
    slots: dict[str, int] = msgspec.field(default_factory=dict)
    written: Written | None = None
    working: Working | None = None
    waiting: int = 0
    trained: int = 0
    failed: int = 0
    cancelled: int = 0
    attempts: int = 0
    deployed: int = 0
    alerts: list[str] = msgspec.field(default_factory=list)
