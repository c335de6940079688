"""Check that all roles have done their work, and the learners that are not waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.learner.offset_metadata import LearnerMetadata
from consumers.roles import LEARNER, kind_of_role

if TYPE_CHECKING:
    from millstream.status.snapshot import StreamSnapshot


def caught_up(now: StreamSnapshot) -> bool:
    """Return whether every role has read all its input and each learner has checkpointed all that it learned.

    A challenger that learns nothing, because it is paused or full, holds nobody up.
    """
    waiting = idle_challengers(now)
    if any(now.lag(role) for role in now.roles if role not in waiting):
        return False
    return all(_checkpointed(now, role) for role in now.roles if kind_of_role(role) == LEARNER and role not in waiting)


def idle_challengers(now: StreamSnapshot) -> frozenset[str]:
    """Return the roles of named models' learners that learn nothing: paused, or at the model's size limit."""
    learners = (role for role in now.roles if kind_of_role(role) == LEARNER and role != LEARNER)
    return frozenset(role for role in learners if now.is_paused(role) or _learner(now, role).full)


def _learner(now: StreamSnapshot, role: str) -> LearnerMetadata:
    return next((each for each in now.metadata(role) if isinstance(each, LearnerMetadata)), LearnerMetadata())


def _checkpointed(now: StreamSnapshot, role: str) -> bool:
    learner = _learner(now, role)
    if not learner.version:
        return False
    return int(learner.version.rpartition("/")[2]) == learner.learned
