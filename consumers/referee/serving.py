"""The serving model, as the referee knows it from the models topic and from its own last decision."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from consumers.model.models_topic_state import Known
from consumers.referee.contest import Champion
from consumers.referee.offset_metadata import Decided


@dataclass(frozen=True)
class Serving:
    """The serving model.

    Attributes
    ----------
    follows
        `decision_hash` of a person's last decision on serving, empty if there is none.
    pinned
        True if a person's decision names a version.
    """

    champion: Champion
    follows: str
    pinned: bool


class ServingDecisions:
    """Decisions on serving, kept current by the thread that follows the models topic.

    Parameters
    ----------
    model
        Id of the stream's own model, which serves without a decision.
    """

    def __init__(self, model: str, shard: int = 0) -> None:
        self._model = model
        self._shard = shard
        self._lock = threading.Lock()
        self._serving = Serving(Champion(model), "", False)

    def follow(self, known: Known) -> None:
        """Apply the state of the models topic."""
        promoted, pinned = known.promoted(self._shard), known.decided(self._shard)
        former = promoted.before if promoted is not None and promoted.by == "rule" else None
        champion = Champion(known.serves(self._model, self._shard), None if pinned is None else pinned.epoch, former)
        with self._lock:
            self._serving = Serving(champion, known.follows(self._shard), pinned is not None)

    def now(self, decided: Decided | None) -> Serving:
        """Return the serving model; `decided` is the referee's last decision, which the topic may not show yet."""
        with self._lock:
            serving = self._serving
        if decided is None or decided.follows != serving.follows:
            return serving
        champion = Champion(decided.model, None, decided.before if decided.by == "rule" else None)
        return Serving(champion, decided.follows, False)
