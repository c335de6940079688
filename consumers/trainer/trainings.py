"""Interface between the trainer and what it has done outside: the range of a job, and its training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from consumers.trainer.training_messages import TrainingFailed, TrainingProgress
from schemas.jobs import Claim, Job
from schemas.model_updates import Published


class NoWork(Exception):  # noqa: N818
    """A job cannot be trained, and could not later: the message says why."""


@dataclass(frozen=True)
class Lost:
    """A training has ended without a result: another attempt may have one.

    Attributes
    ----------
    why
        How, in a line.
    said
        What it has said last: the traceback of an exception.
    """

    why: str
    said: str = field(default="", compare=False)


@dataclass(frozen=True)
class Trained:
    """A version, complete and signed in the store.

    Attributes
    ----------
    version
        As people write it.
    published
        Its announcement.
    better
        True if it was better than what served by as much as its model asks for; `None` if nothing was compared.
    evidence
        Figures of that, by name, and why in words.
    detail
        What the record of the job's end says beside that.
    """

    version: str
    published: Published
    better: bool | None
    evidence: dict[str, float] = field(default_factory=dict)
    why: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


RunEvent: TypeAlias = TrainingProgress | TrainingFailed | Lost | Trained
"""The last three end a run."""


class Run(Protocol):
    """A training that goes on."""

    def events(self) -> Sequence[RunEvent]:
        """Return what has happened since the last call."""

    def end(self) -> None:
        """End it, with all its processes."""


class Trainings(Protocol):
    """Starts trainings. The trainer calls it from one thread."""

    def claim(self, job: Job, newest_epoch: int) -> Claim:
        """Return what a job is to train on; the version's epoch is above `newest_epoch`. Raises NoWork."""

    def start(self, job: Job, attempt: int, claim: Claim) -> Run:
        """Begin a training whose claim is committed."""


@dataclass(frozen=True)
class InForce:
    """Which model serves.

    Attributes
    ----------
    model
        Its id.
    follows
        `decision_hash` of a person's last decision on serving, empty if there is none.
    pinned
        True if a decision names a version.
    """

    model: str
    follows: str = ""
    pinned: bool = False
