"""State of a stream's jobs, from the records of its jobs topic: asked, running, ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from schemas.codec import CodecError
from schemas.jobs import ENDED, Claim, Job, JobRecord, JobState, read_job_record

LONGEST_ID: Final = 120
"""Characters of a job's id; a longer one could not be remembered beside an offset."""
MOST_ATTEMPTS: Final = 3


class Ending(msgspec.Struct, frozen=True):
    """What the detail of an end says, of which the rest is not kept."""

    version: str = ""
    why: str = ""
    deployed: str = ""


class Step(msgspec.Struct, frozen=True):
    """Detail of ``progress``; `returned` if its trainer has ended in order, so that the attempt does not count."""

    done: int = 0
    of: int = 0
    text: str = ""
    returned: bool = False


# Decoders are made at import time, in one thread: see `consumers.loop.offset_metadata`.
_claim: Final = msgspec.json.Decoder(Claim).decode
_ending: Final = msgspec.json.Decoder(Ending).decode
_step: Final = msgspec.json.Decoder(Step).decode


@dataclass
class KnownJob:
    """A job, and what has become of it.

    Attributes
    ----------
    offset
        Of the record that asked for it.
    attempts, returned
        Number of the last attempt, 0 before the first; and how many of them were ended in order, and do not count.
    claim
        What its first attempt has claimed; later ones train on the same.
    cancel
        A person's wish, `None` if there is none.
    at, by
        Time (ms) and writer of the newest record.
    """

    job: Job
    offset: int
    state: Literal["asked", "running", "done", "failed", "cancelled"] = "asked"
    attempts: int = 0
    returned: int = 0
    claim: Claim | None = None
    cancel: JobState | None = None
    step: Step | None = None
    ending: Ending | None = None
    at: int = 0
    by: str = ""

    @property
    def open(self) -> bool:
        """True until it has ended."""
        return self.state not in ENDED

    @property
    def tried_enough(self) -> bool:
        """True if it has had all its attempts."""
        return self.attempts - self.returned >= MOST_ATTEMPTS


class JobStates:
    """State of all jobs of a topic, given its records in order. A record that is applied twice changes nothing."""

    def __init__(self) -> None:
        self._jobs: dict[str, KnownJob] = {}

    def __iter__(self) -> Iterator[KnownJob]:
        """Yield all jobs in the order in which they were asked for."""
        yield from self._jobs.values()

    def __contains__(self, job: str) -> bool:
        return job in self._jobs

    def get(self, job: str) -> KnownJob | None:
        """Return the job with this id."""
        return self._jobs.get(job)

    def take(self, offset: int, record: JobRecord) -> bool:
        """Apply one record; return whether it changed anything."""
        if isinstance(record, Job):
            return self._ask(offset, record)
        known = self._jobs.get(record.id)
        if known is None or not known.open or known.job.model != record.model:
            return False
        try:
            changed = self._change(known, record)
        except msgspec.DecodeError:
            return False  # any client can write there
        if changed and record.state != "cancel":
            known.at, known.by = record.at, record.by
        return changed

    def _ask(self, offset: int, job: Job) -> bool:
        if job.id in self._jobs or not 0 < len(job.id) <= LONGEST_ID:
            return False
        self._jobs[job.id] = KnownJob(job, offset, at=job.at, by=job.by)
        return True

    def _change(self, known: KnownJob, record: JobState) -> bool:
        state = record.state
        if state == "cancel":
            known.cancel = record
        elif state == "running":
            claim = _claim(record.detail)
            if record.attempt <= known.attempts:
                return False
            known.claim = known.claim or claim
            known.attempts, known.state, known.step = record.attempt, "running", None
        elif state == "progress":
            step = _step(record.detail)
            if record.attempt != known.attempts or known.state != "running":
                return False
            known.step = step
            if step.returned:
                known.returned += 1
                known.state, known.step = "asked", None
        else:
            known.ending = _ending(record.detail)
            known.state, known.step = state, None
        return True

    def open(self) -> list[KnownJob]:
        """Return the jobs that have not ended, in the order in which they were asked for."""
        return [each for each in self._jobs.values() if each.open]

    def shows(self, job: str, state: str, attempt: int) -> bool:
        """Return whether a record that was written is among those that were read."""
        known = self._jobs.get(job)
        if known is None:
            return False
        return not known.open or (state not in ENDED and known.attempts >= attempt)


def read_record(value: bytes | None) -> JobRecord | None:
    """Return a record of the jobs topic, `None` if it is none: any client can write there."""
    try:
        return read_job_record(value or b"")
    except CodecError:
        return None
