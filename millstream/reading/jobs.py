"""Jobs of a stream, read from its jobs topic, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec

from consumers.loop.job_states import JobStates, KnownJob, read_record
from millstream.reading import topic_readers
from runtime.kafka_client.cluster import MissingTopic
from runtime.kafka_client.records import Partition
from schemas.jobs import Job, JobRecord, JobState

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

Row = dict[str, Any]


class NoSuchJob(Exception):  # noqa: N818
    """There is no job with this id."""


class JobsFollower:
    """State of a stream's jobs, brought up to date by each `look`. Close it after use.

    Raises
    ------
    MissingTopic
        If the stream has no jobs topic.
    """

    def __init__(self, cluster: Cluster, names: Names) -> None:
        self._topic = names.topic("jobs")
        self._consumer = cluster.consumer()
        self._next: int | None = None
        self.states = JobStates()
        if self._topic not in self._consumer.topics():
            self.close()
            raise MissingTopic(f"there is no topic {self._topic}: `millstream topics create STREAM` makes it")

    def look(self) -> Iterator[tuple[int, JobRecord]]:
        """Yield the records since the last look that have changed anything, with their offsets."""
        consumer, end = self._consumer, topic_readers.end(self._consumer, self._topic)
        begin = topic_readers.begin(consumer, self._topic) if self._next is None else self._next
        for record in topic_readers.between(consumer, Partition(self._topic, 0), begin, end):
            read = read_record(record.value)
            if read is not None and self.states.take(record.offset, read):
                yield record.offset, read
        self._next = max(begin, end)

    def close(self) -> None:
        """Close the client."""
        self._consumer.close()


def read_states(cluster: Cluster, names: Names) -> JobStates:
    """Return the state of a stream's jobs. Raises MissingTopic if it has no jobs topic."""
    with closing(JobsFollower(cluster, names)) as follower:
        for _ in follower.look():
            pass
        return follower.states


def job_row(known: KnownJob) -> Row:
    """Return a job for JSON."""
    job, ending, step = known.job, known.ending, known.step
    return {
        "id": job.id,
        "model": job.model,
        "state": known.state,
        "cancel": known.cancel is not None and known.open,
        "attempts": known.attempts,
        "asked_at": job.at,
        "by": job.by,
        "why": job.why,
        "at": known.at,
        "process": known.by if known.attempts else None,
        "progress": None if step is None else {"done": step.done, "of": step.of, "text": step.text},
        "claim": None if known.claim is None else msgspec.structs.asdict(known.claim),
        "version": (ending.version or None) if ending else None,
        "deployed": (ending.deployed or None) if ending else None,
        "reason": (ending.why or None) if ending else None,
    }


def job_rows(states: JobStates) -> list[Row]:
    """Return a row for each job, newest first."""
    return [job_row(known) for known in reversed([*states])]


def whole_job(cluster: Cluster, names: Names, job: str | None) -> Row:
    """Return all about one job, or the newest: its row, its records, and the detail of its end as ``result``.

    Raises
    ------
    NoSuchJob
        If there is none.
    """
    several: dict[str, list[Row]] = {}
    with closing(JobsFollower(cluster, names)) as follower:
        for _, record in follower.look():
            several.setdefault(record.id, []).append(record_row(record))
    states = follower.states
    wanted = next((each.job.id for each in reversed([*states])), None) if job is None else job
    known = None if wanted is None else states.get(wanted)
    if known is None or wanted is None:
        few = ", ".join(each.job.id for each in [*states][-5:])
        raise NoSuchJob(
            f"{names.stream} has no job" + ("" if job is None else f" {job:.120}; the newest are {few or '–'}")
        )
    row = job_row(known)
    row["records"] = several[wanted]
    row["result"] = None if known.open else several[wanted][-1]["detail"]
    return row


def record_row(record: JobRecord) -> Row:
    """Return a record of the jobs topic for JSON."""
    if isinstance(record, Job):
        return {"state": "asked", "attempt": 0, "by": record.by, "at": record.at, "detail": {"why": record.why}}
    return {
        "state": record.state,
        "attempt": record.attempt,
        "by": record.by,
        "at": record.at,
        "detail": detail_of(record),
    }


def detail_of(record: JobState) -> Row:
    """Return the detail of a record, empty if it is not a JSON object."""
    try:
        found = msgspec.json.decode(record.detail)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
