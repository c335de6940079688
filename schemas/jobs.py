"""Records of the jobs topic."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from schemas import codec

JobStateName: TypeAlias = Literal["running", "progress", "done", "failed", "cancel", "cancelled"]
ENDED: Final[frozenset[JobStateName]] = frozenset({"done", "failed", "cancelled"})
"""States after which nothing more becomes of a job."""


class Job(msgspec.Struct, frozen=True, gc=False):
    """A training that is asked for. Key: its id. Asked twice with the same id it is one job.

    Attributes
    ----------
    model
        Name among the stream's batch models.
    by
        A person, the schedule, or the name of the alert whose rule asks for it.
    at
        Time of the request (ms).
    begin, end
        Range of offsets of the examples log; `None`: from where the model's window begins, and to the end there is when
        the job is first claimed.
    """

    id: str
    model: str
    why: str
    by: str
    at: int
    begin: int | None = None
    end: int | None = None

    def encode(self) -> bytes:
        return codec.JOB.encode(msgspec.structs.asdict(self))


class JobState(msgspec.Struct, frozen=True, gc=False):
    """What has become of a job, or that a person wants it cancelled. Key: the job's id.

    Attributes
    ----------
    state
        ``running``: a trainer has claimed it, with the `attempt`; ``progress``; ``done``, ``failed`` and ``cancelled``
        end it; ``cancel`` is a person's wish.
    by
        The trainer's process, or a person.
    detail
        JSON. ``running``: a `Claim`; ``progress``: `done`, `of` and a `text`, or `returned`; ``done``: the `version`,
        the table of the search, the comparison, and why it was deployed or not; ``failed``, ``cancel``, ``cancelled``:
        `why`.
    """

    id: str
    model: str
    state: JobStateName
    attempt: int
    by: str
    at: int
    detail: str

    def encode(self) -> bytes:
        return codec.JOB_STATE.encode(msgspec.structs.asdict(self))


JobRecord: TypeAlias = Job | JobState


class Claim(msgspec.Struct, frozen=True):
    """Detail of ``running``: what is trained on, and the version that it gives. All attempts of a job have the same.

    Attributes
    ----------
    epoch
        Of the version.
    topic_id, begin, end
        The examples log, and the range of offsets.
    parent
        Version to go on from, as text; empty for none.
    serving
        What serves: a version as text, or the name of a model that learns from each event; empty if it is not known.
        It is asked about the newest examples for which no answer was served.
    """

    epoch: int
    topic_id: str
    begin: int
    end: int
    parent: str = ""
    serving: str = ""


def read_job(data: bytes) -> Job:
    """Read a Job. Raises CodecError if it is not one."""
    return Job(**codec.JOB.decode(data))


def read_job_record(data: bytes) -> JobRecord:
    """Read a record of the jobs topic. Raises CodecError if it is none."""
    if data.startswith(codec.JOB_STATE.header):
        return JobState(**codec.JOB_STATE.decode(data))
    return read_job(data)
