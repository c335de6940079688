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


def read_states(cluster: Cluster, names: Names) -> JobStates:
    """Return the state of a stream's jobs. Raises MissingTopic if it has no jobs topic."""
    states = JobStates()
    for offset, record in records(cluster, names):
        states.take(offset, record)
    return states


def records(cluster: Cluster, names: Names, job: str | None = None) -> Iterator[tuple[int, JobRecord]]:
    """Yield the records of a stream's jobs, or those of one job, with their offsets, in the topic's order.

    Raises
    ------
    MissingTopic
        If the stream has no jobs topic.
    """
    topic = names.topic("jobs")
    with closing(cluster.consumer()) as consumer:
        if topic not in consumer.topics():
            raise MissingTopic(f"there is no topic {topic}: `millstream topics create STREAM` makes it")
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        for record in topic_readers.between(consumer, Partition(topic, 0), begin, end):
            read = read_record(record.value)
            if read is not None and job in (None, read.id):
                yield record.offset, read


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
    states, several = JobStates(), dict[str, list[Row]]()
    for offset, record in records(cluster, names):
        if states.take(offset, record):
            several.setdefault(record.id, []).append(record_row(record))
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
