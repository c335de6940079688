"""Decisions in force on serving and learning, as alert rules know them from the models topic."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from consumers.model.models_topic_state import Known
from model_store import VersionId

SHARD: Final = 0
"""Decisions are on the shard of the models: there is one."""


@dataclass(frozen=True)
class InForce:
    """The decisions in force.

    Attributes
    ----------
    model
        Id of the model that serves.
    version
        The version that a decision names, `None` if the newest serves.
    by_rule
        Name of the alert whose rule has rolled back to `version`; empty if a person has pinned it, or nobody has.
    follows
        `decision_hash` of a person's last decision on serving, empty if there is none.
    paused
        Ids of the models whose learning is paused.
    announced_ms
        Time of the last announcement of a version of the serving model, `None` if there is none.
    newest
        The newest announced version of the serving model, `None` if there is none.
    """

    model: str
    version: VersionId | None = None
    by_rule: str = ""
    follows: str = ""
    paused: frozenset[str] = frozenset()
    announced_ms: int | None = None
    newest: VersionId | None = None


class Decisions:
    """The decisions in force, kept current by the thread that follows the models topic.

    Parameters
    ----------
    models
        Ids of all models of the stream, its own first.
    """

    def __init__(self, models: Sequence[str]) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._now = InForce(models[0])

    def follow(self, known: Known) -> None:
        """Apply the state of the models topic."""
        model, rolled_back = known.serves(self._models[0], SHARD), known.rolled_back(SHARD)
        learning = {each: known.learning(each, SHARD) for each in self._models}
        now = InForce(
            model,
            known.decided(SHARD),
            "" if rolled_back is None else rolled_back.by,
            known.follows(SHARD),
            frozenset(each for each, decision in learning.items() if decision is not None and decision.paused),
            known.announced_at(model, SHARD),
            next((each.version for each in known.announced_of(model, SHARD)), None),
        )
        with self._lock:
            self._now = now

    def now(self) -> InForce:
        """Return the decisions in force."""
        with self._lock:
            return self._now
