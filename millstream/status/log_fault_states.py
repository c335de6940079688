"""Where a role stands beside the log as it is now: seen from outside, for the role may be down."""

from __future__ import annotations

from collections.abc import Iterator

from consumers.loop.log_faults import LogFault, fault_of, short_ids
from millstream.status.snapshot import INPUTS, LABELS_FROM, Commit, Place, StreamSnapshot
from schemas.model_updates import Published


def log_faults(now: StreamSnapshot, stream: str) -> tuple[LogFault, ...]:
    """Return why roles cannot go on at their places, one for each partition.

    A place that Kafka forgot when it deleted the topic is not seen from here, but where the other input's tells of it;
    the role itself remembers, and raises an alert.
    """
    found = (*_predictor(now, stream), *_intake(now), *_joiner(now, stream), *_learner(now, stream))
    return tuple(fault for fault in found if fault is not None)


def _at(now: StreamSnapshot, role: str, stream: str, place: Place, commit: Commit, another: bool) -> LogFault | None:
    if place not in now.ends or place not in now.begins:
        return None  # no such topic: that is said elsewhere
    topic, beginning, end = _name(now, stream, place[0]), now.begins[place], now.ends[place]
    if another:
        return LogFault(role, "recreated", topic, place[1], commit.offset, beginning, end)
    return fault_of(role, (topic, place[1]), commit.offset, beginning, end)


def _name(now: StreamSnapshot, stream: str, kind: str) -> str:
    return now.topics.get(kind, f"{stream}.{kind}")


def _predictor(now: StreamSnapshot, stream: str) -> Iterator[LogFault | None]:
    known = now.topic_ids.get("features")
    for place, commit in sorted(now.committed.get("predictor", {}).items()):
        wrote = commit.note.get("t")
        another = bool(wrote) and known is not None and wrote != short_ids(known)
        yield _at(now, "predictor", stream, place, commit, another)


def _intake(now: StreamSnapshot) -> Iterator[LogFault | None]:
    for (kind, number), commit in sorted(now.committed.get("intake", {}).items()):
        place, known, wrote = (kind, number), now.topic_ids.get(kind), commit.note.get("t")
        if place not in now.ends or place not in now.begins:
            continue  # a source that the stream has no more, or a topic that is gone: that is said elsewhere
        at, beginning, end = (kind.removeprefix(LABELS_FROM), number), now.begins[place], now.ends[place]
        if wrote and known is not None and wrote != short_ids(known):
            yield LogFault("intake", "recreated", *at, commit.offset, beginning, end)
        else:
            yield fault_of("intake", at, commit.offset, beginning, end)


def _joiner(now: StreamSnapshot, stream: str) -> Iterator[LogFault | None]:
    commits = now.committed.get("joiner", {})
    for number in sorted({number for _, number in commits}):
        note = next(commit.note for (_, at), commit in commits.items() if at == number)
        each = note.get("each")
        for kind, wrote in zip(INPUTS["joiner"], each if isinstance(each, list) else (), strict=False):
            place, known = (kind, number), now.topic_ids.get(kind)
            another = bool(wrote) and known is not None and wrote != short_ids(known)
            commit = commits.get(place)
            if commit is not None:
                yield _at(now, "joiner", stream, place, commit, another)
            elif another and place in now.ends:
                name = _name(now, stream, kind)
                yield LogFault("joiner", "recreated", name, number, None, now.begins[place], now.ends[place])


def _learner(now: StreamSnapshot, stream: str) -> Iterator[LogFault | None]:
    state = now.published.state if now.published is not None else None
    known = now.topic_ids.get("examples")
    if not isinstance(state, Published) or known is None:
        return
    # Its place is in its newest version; while it works it has read on from there.
    commit = Commit(state.offset, {})
    fault = _at(now, "learner", stream, ("examples", state.shard), commit, state.topic_id != known)
    yield None if fault is not None and fault.state == "overtaken" and now.members.get("learner") else fault
