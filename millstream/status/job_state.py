"""State of the jobs that train a stream's batch models, from the trainer's offset metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.trainer.offset_metadata import TrainerMetadata
from schemas.duration_text import spoken

if TYPE_CHECKING:
    from millstream.status.snapshot import StreamSnapshot


@dataclass(frozen=True)
class JobsState:
    """What a trainer has done, and works on.

    Attributes
    ----------
    trained, failed, cancelled
        Numbers of jobs by their end.
    attempts, deployed
        How often a training was begun; how many versions served at once.
    waiting
        Number of jobs that wait.
    job, model, attempt, since_ms
        The job that is trained now, and for how long; `None` if there is none.
    progress, of
        How far it is; `of` is 0 if that is not known.
    """

    trained: int
    failed: int
    cancelled: int
    attempts: int
    deployed: int
    waiting: int
    job: str | None = None
    model: str | None = None
    attempt: int | None = None
    since_ms: int | None = None
    progress: int = 0
    of: int = 0

    def line(self) -> str:
        """Return it in words.

        >>> JobsState(5, 1, 0, 8, 2, 1, "gbdt.1", "gbdt", 2, 90_000, 3, 20).line()
        'gbdt is trained since 1.5 min (attempt 2, 3 of 20), 1 waits; 5 done (2 served at once), 1 failed'
        """
        now = "nothing is trained now"
        if self.since_ms is not None:
            told = [f"attempt {self.attempt}"] if (self.attempt or 1) > 1 else []
            told += [f"{self.progress:,} of {self.of:,}"] if self.of else []
            now = f"{self.model} is trained since {spoken(self.since_ms)}" + (f" ({', '.join(told)})" if told else "")
        waiting = f", {self.waiting} {'waits' if self.waiting == 1 else 'wait'}" if self.waiting else ""
        served = f" ({self.deployed:,} served at once)" if self.deployed else ""
        ends = [f"{self.trained:,} done{served}"]
        ends += [f"{count:,} {end}" for count, end in ((self.failed, "failed"), (self.cancelled, "cancelled")) if count]
        return f"{now}{waiting}; {', '.join(ends)}"


def jobs_state(now: StreamSnapshot) -> JobsState | None:
    """Return the state of the jobs; `None` until a trainer has worked."""
    told = next((each for each in now.beside(TrainerMetadata) if each.models), None)
    if told is None:
        return None
    working = told.working
    return JobsState(
        trained=told.trained,
        failed=told.failed,
        cancelled=told.cancelled,
        attempts=told.attempts,
        deployed=told.deployed,
        waiting=told.waiting,
        job=None if working is None else working.id,
        model=None if working is None else working.model,
        attempt=None if working is None else working.attempt,
        since_ms=None if working is None else max(0, now.at_ms - working.since),
        progress=0 if working is None else working.done,
        of=0 if working is None else working.of,
    )
