"""Several models of a stream, as `millstream status` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from consumers.roles import LEARNER, kind_of_role, model_of_role
from millstream.status.snapshot import StreamSnapshot
from schemas.model_names import model_id, name_of, version_text
from schemas.model_updates import Published, RolledBack, Serving


@dataclass(frozen=True)
class Competitor:
    """One of several models of a stream.

    Attributes
    ----------
    newest
        Its newest announced version, `None` before the first.
    serves
        True if its versions serve by the last decision, or it is the stream's own and nobody decided.
    lag
        Number of examples that its learner has not read.
    """

    name: str
    newest: str | None
    serves: bool
    paused: bool
    lag: int
    processes: int
    metrics: Mapping[str, float]


def competitors(now: StreamSnapshot, stream: str) -> tuple[Competitor, ...]:
    """Return the models of a stream with several, its own first; nothing for a stream with one."""
    learners = [role for role in now.every if kind_of_role(role) == LEARNER]
    if len(learners) < 2:
        return ()
    found = []
    for role in learners:
        of = model_id(stream, model_of_role(role))
        update = now.published_by.get(of)
        state = None if update is None else update.state
        published = state if isinstance(state, Published) else None
        found.append(
            Competitor(
                name_of(of),
                None if published is None else version_of(published),
                now.serves == of or (now.serves is None and of == stream),
                now.is_paused(role),
                now.lag(role),
                now.members.get(role, 0),
                {} if published is None else published.metrics,
            )
        )
    return tuple(found)


def version_of(state: Published | Serving | RolledBack) -> str:
    """Return the version in a record of the models topic, as people write it."""
    return version_text(state.model, state.epoch or 0, state.examples or 0)
