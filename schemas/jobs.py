"""Records of the jobs topic."""

from __future__ import annotations

import msgspec

from schemas import codec


class Job(msgspec.Struct, frozen=True, gc=False):
    """A training that is asked for. Key: its id. Asked twice with the same id it is one job.

    Attributes
    ----------
    model
        Name among the stream's models.
    by
        A person, or the name of the alert whose rule asks for it.
    at
        Time of the request (ms).
    """

    id: str
    model: str
    why: str
    by: str
    at: int

    def encode(self) -> bytes:
        return codec.JOB.encode(msgspec.structs.asdict(self))


def read_job(data: bytes) -> Job:
    """Read a Job. Raises CodecError if it is not one."""
    return Job(**codec.JOB.decode(data))
