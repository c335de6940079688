"""Jobs that people ask for, or want cancelled: records on the jobs topic."""

from __future__ import annotations

import difflib
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.reading.jobs import NoSuchJob, read_states
from millstream.reading.offset_ranges import Edge, span
from millstream.versions.decisions import NotDecided
from runtime.kafka_client.cluster import MissingTopic
from runtime.kafka_client.errors import KafkaError, described
from runtime.kafka_client.records import Output
from schemas.jobs import Job, JobRecord, JobState

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

_ACKNOWLEDGED_S: Final = 15.0
_WHOLE: Final = Edge()


class NoBatchModel(ValueError):  # noqa: N818
    """The stream has no batch model of this name."""


class AlreadyEnded(Exception):  # noqa: N818
    """The job has ended, so it cannot be cancelled."""


class EmptyRange(ValueError):  # noqa: N818
    """The log has nothing in the range that a job is to train on."""


def ask(
    cluster: Cluster,
    names: Names,
    model: str,
    *,
    by: str,
    why: str = "",
    begin: Edge = _WHOLE,
    end: Edge = _WHOLE,
) -> Job:
    """Ask for a training of a batch model, by default of the model's window; return the job.

    Parameters
    ----------
    begin, end
        Range of the examples log.

    Raises
    ------
    NoBatchModel, EmptyRange
        Nothing was asked for.
    MissingTopic
        If the stream has no jobs topic.
    NotDecided
        If the cluster has not acknowledged it.
    """
    if model not in names.batch:
        known = ", ".join(names.batch) or "none: batch={...} in the stream file names them"
        near = difflib.get_close_matches(model, names.batch, n=1)
        guess = f"did you mean {near[0]}?" if near else f"its batch models are {known}"
        raise NoBatchModel(f"{names.stream} has no batch model {model!r:.50}; {guess}")
    first = last = None
    if begin != _WHOLE or end != _WHOLE:
        first, last = _range(cluster, names, begin, end)
    now = time.time_ns() // 1_000_000
    job = Job(_id(model, now), model, why, by, now, first, last)
    _send(cluster, names, job)
    return job


def cancel(cluster: Cluster, names: Names, job: str, *, by: str, why: str = "") -> JobState:
    """Ask for a job to be cancelled; its trainer does it, and says so with another record.

    Raises
    ------
    NoSuchJob, AlreadyEnded
        Nothing was asked for.
    NotDecided
        If the cluster has not acknowledged it.
    """
    states = read_states(cluster, names)
    known = states.get(job)
    if known is None:
        open_ = ", ".join(each.job.id for each in states.open()) or "none"
        raise NoSuchJob(f"{names.stream} has no job {job:.120}; not ended: {open_}")
    if not known.open:
        raise AlreadyEnded(f"job {job} has ended already: {known.state}")
    detail = msgspec.json.encode({"why": why}).decode()
    wish = JobState(job, known.job.model, "cancel", 0, by, time.time_ns() // 1_000_000, detail)
    _send(cluster, names, wish)
    return wish


def _range(cluster: Cluster, names: Names, begin: Edge, end: Edge) -> tuple[int, int]:
    topic = names.topic("examples")
    with closing(cluster.consumer()) as consumer:
        if not consumer.partitions_for_topic(topic):
            raise MissingTopic(f"there is no topic {topic}: `millstream topics create STREAM` makes it")
        found = span(consumer, topic, 1, begin, end)
    if found.begin[0] >= found.end[0]:
        raise EmptyRange(f"{topic} has no examples from {begin.text or 'its beginning'} to {end.text or 'its end'}")
    return found.begin[0], found.end[0]


def _id(model: str, now_ms: int) -> str:
    """Return a job's id: its model, and the time to the millisecond."""
    return f"{model}.{datetime.fromtimestamp(now_ms / 1000, UTC).isoformat(timespec='milliseconds')[:23]}Z"


def _send(cluster: Cluster, names: Names, record: JobRecord) -> None:
    topic = names.topic("jobs")
    if topic not in cluster.topic_info(topic):
        raise MissingTopic(f"there is no topic {topic}: `millstream topics create STREAM` makes it")
    limits = {"request_timeout_ms": 5_000, "delivery_timeout_ms": int(_ACKNOWLEDGED_S * 1000)}
    with closing(cluster.producer(acks="all", **limits)) as producer:
        try:
            producer.send_for_offsets([Output(topic, 0, record.id.encode(), record.encode())], _ACKNOWLEDGED_S)
        except KafkaError as error:
            raise NotDecided(f"{topic} did not accept the job ({described(error)}): run the command again") from error
