"""Comparison of each role's offsets with the present log, from outside, as the role may be down."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter

from consumers.intake.offset_metadata import IntakeMetadata
from consumers.joiner.offset_metadata import JoinMetadata
from consumers.loop.log_faults import LogFault, fault_of, short_ids
from consumers.monitor.offset_metadata import MonitorMetadata
from consumers.predictor.offset_metadata import PredictorMetadata
from consumers.roles import INTAKE, JOINER, JUDGE, LEARNER, MONITOR, PREDICTOR, SHADOW, kind_of_role, model_of_role
from consumers.shadow.offset_metadata import ShadowMetadata
from millstream.status.snapshot import LABELS_FROM, Commit, Place, StreamSnapshot, kinds_read
from schemas.model_names import model_id
from schemas.model_updates import Published


def log_faults(now: StreamSnapshot, stream: str) -> tuple[LogFault, ...]:
    """Return the faults for which roles cannot continue at their offsets, one for each partition.

    An offset that Kafka deleted with its topic is only visible here in the other input's metadata. The role itself has
    it in a file, and raises an alert.
    """
    found = (
        *_of_its_topics(now, stream, PREDICTOR),
        *_intake(now),
        *_of_two_topics(now, stream, JOINER),
        *_learners(now, stream),
        *_of_its_topics(now, stream, SHADOW),
        *_of_two_topics(now, stream, JUDGE),
        *_of_its_topics(now, stream, MONITOR),
    )
    return tuple(fault for fault in found if fault is not None)


def _at(now: StreamSnapshot, role: str, stream: str, place: Place, commit: Commit, another: bool) -> LogFault | None:
    if place not in now.ends or place not in now.begins:
        return None  # no such topic: reported elsewhere
    topic, beginning, end = _name(now, stream, place[0]), now.begins[place], now.ends[place]
    if another:
        return LogFault(role, "recreated", topic, place[1], commit.offset, beginning, end)
    return fault_of(role, (topic, place[1]), commit.offset, beginning, end)


def _name(now: StreamSnapshot, stream: str, kind: str) -> str:
    external = kind.removeprefix(LABELS_FROM)
    return external if external != kind else now.topics.get(kind, f"{stream}.{kind}")


def _is_another(wrote: str, known: str | None) -> bool:
    """Return whether the topic in a role's metadata differs from the present one; False if either is unknown."""
    return bool(wrote) and known is not None and wrote != short_ids(known)


def _of_its_topics(now: StreamSnapshot, stream: str, role: str) -> Iterator[LogFault | None]:
    for place, commit in sorted(now.committed.get(role, {}).items(), key=itemgetter(0)):
        told = commit.metadata
        wrote = told.topic_id if isinstance(told, (PredictorMetadata, ShadowMetadata, MonitorMetadata)) else ""
        yield _at(now, role, stream, place, commit, _is_another(wrote, now.topic_ids.get(place[0])))


def _intake(now: StreamSnapshot) -> Iterator[LogFault | None]:
    for place, commit in sorted(now.committed.get(INTAKE, {}).items(), key=itemgetter(0)):
        if place not in now.ends or place not in now.begins:
            continue  # a source that the stream no longer has, or a missing topic: reported elsewhere
        kind, number = place
        wrote = commit.metadata.topic_id if isinstance(commit.metadata, IntakeMetadata) else ""
        at, beginning, end = (kind.removeprefix(LABELS_FROM), number), now.begins[place], now.ends[place]
        if _is_another(wrote, now.topic_ids.get(kind)):
            yield LogFault(INTAKE, "recreated", *at, commit.offset, beginning, end)
        else:
            yield fault_of(INTAKE, at, commit.offset, beginning, end)


def _of_two_topics(now: StreamSnapshot, stream: str, role: str) -> Iterator[LogFault | None]:
    commits = now.committed.get(role, {})
    for number in sorted({number for _, number in commits}):
        metadata = next(commit.metadata for (_, at), commit in commits.items() if at == number)
        if not isinstance(metadata, JoinMetadata):
            continue
        for kind, wrote in zip(kinds_read(role), metadata.each, strict=True):
            place, another = (kind, number), _is_another(wrote, now.topic_ids.get(kind))
            commit = commits.get(place)
            if commit is not None:
                yield _at(now, role, stream, place, commit, another)
            elif another and place in now.ends:
                name = _name(now, stream, kind)
                yield LogFault(role, "recreated", name, number, None, now.begins[place], now.ends[place])


def _learners(now: StreamSnapshot, stream: str) -> Iterator[LogFault | None]:
    known = now.topic_ids.get("examples")
    for role in now.roles:
        update = now.published_by.get(model_id(stream, model_of_role(role)))
        state = None if update is None else update.state
        if kind_of_role(role) != LEARNER or not isinstance(state, Published) or known is None:
            continue
        # A learner resumes from the offset in its newest version, and while it works it has read further.
        commit = Commit(state.offset)
        fault = _at(now, role, stream, ("examples", state.shard), commit, state.topic_id != known)
        yield None if fault is not None and fault.state == "overtaken" and now.members.get(role) else fault
