"""State of the models topic: announced versions, and the decisions in force."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from model_store import InvalidVersion, VersionId
from schemas.codec import CodecError
from schemas.model_names import is_named
from schemas.model_updates import (
    Adopted,
    Learning,
    Promoted,
    Published,
    RolledBack,
    Serving,
    decision_hash,
    read_model_update,
)

_CANDIDATES: Final = 32


class UnusableRecord(ValueError):  # noqa: N818
    """A record of the models topic that cannot be used; the message says why."""


@dataclass(frozen=True)
class Announced:
    """An announced version and the announced hash of its manifest."""

    version: VersionId
    sha256: str


class Known:
    """State of a models topic as read so far.

    The last decision counts. A promotion by the rule or the guard, and a rollback by an alert rule, count while the
    person's decision that they follow is the last one of a person: so a later decision of a person always wins,
    whatever compaction leaves. Of the two the later one counts.

    The newest and the last few announcements are kept, because any of them may be forged or repeated: only the store
    shows which is valid.
    """

    def __init__(self) -> None:
        self._serving: dict[int, tuple[Serving, str]] = {}  # with the hash that a promotion refers to
        self._promoted: dict[int, Promoted] = {}
        self._rolled_back: dict[int, RolledBack] = {}
        self._later: dict[int, type[Promoted | RolledBack]] = {}  # kind of the last one of a rule
        self._learning: dict[tuple[str, int], Learning] = {}
        self._adopted: dict[tuple[str, int], VersionId] = {}
        self._announced: dict[tuple[str, int], dict[Announced, None]] = {}
        self._announced_at: dict[tuple[str, int], int] = {}

    def take(self, key: bytes | None, value: bytes | None) -> bool:
        """Apply one record; return whether it held any information.

        Raises
        ------
        UnusableRecord
            If it is not a record of Millstream, or has the wrong key.
        """
        if value is None:
            return False  # a tombstone is ignored: states are replaced, never withdrawn
        try:
            update = read_model_update(value)
            state = update.state
            if key != state.key.encode():
                raise UnusableRecord(f"its key is not {state.key[:100]}")
            if isinstance(state, Published):
                self._announce(state)
                self._announced_at[state.model, state.shard] = update.at
            elif isinstance(state, Serving):
                _named(state)
                self._serving[state.shard] = state, decision_hash(value)
            elif isinstance(state, Promoted):
                VersionId(state.model, 0, 0)  # raises if no model can have this id
                self._promoted[state.shard] = state
                self._later[state.shard] = Promoted
            elif isinstance(state, RolledBack):
                VersionId(state.model, state.epoch, state.examples)
                self._rolled_back[state.shard] = state
                self._later[state.shard] = RolledBack
            elif isinstance(state, Adopted):
                adopted = VersionId(state.model, state.epoch, state.examples)
                self._adopted[state.model, state.shard] = adopted
            else:
                self._learning[state.model, state.shard] = state
        except (CodecError, InvalidVersion) as error:
            raise UnusableRecord(str(error)) from error
        return True

    def _announce(self, state: Published) -> None:
        said = Announced(VersionId(state.model, state.epoch, state.examples), state.manifest_sha256)
        before = self._announced.setdefault((state.model, state.shard), {})
        before.pop(said, None)
        before[said] = None  # moved to the end
        if len(before) > 4 * _CANDIDATES:
            last = [*before]
            stay = {*sorted(last, key=lambda one: one.version)[-_CANDIDATES:], *last[-_CANDIDATES:]}
            self._announced[state.model, state.shard] = {one: None for one in last if one in stay}

    def has_decisions(self) -> bool:
        """Return whether anybody has decided what serves, or which rebuilt version a learner continues from."""
        return bool(self._serving or self._promoted or self._rolled_back or self._adopted)

    def learning(self, model: str, shard: int) -> Learning | None:
        """Return the last decision on learning of this model."""
        return self._learning.get((model if is_named(model) else "", shard))

    def adopted(self, model: str, shard: int) -> VersionId | None:
        """Return the rebuilt version that the learner of this model must continue from, by the last decision."""
        return self._adopted.get((model, shard))

    def decided(self, shard: int) -> VersionId | None:
        """Return the version that must serve by decision, `None` if the newest of a model must serve."""
        rolled_back = self.rolled_back(shard)
        if rolled_back is not None:
            return VersionId(rolled_back.model, rolled_back.epoch, rolled_back.examples)
        decision = self._serving.get(shard)
        return None if decision is None or self.promoted(shard) is not None else _named(decision[0])

    def promoted(self, shard: int) -> Promoted | None:
        """Return the promotion that holds, `None` if a later decision does, or there is none."""
        promoted = self._promoted.get(shard)
        if promoted is None or promoted.follows != self.follows(shard) or self.rolled_back(shard) is not None:
            return None
        return promoted

    def rolled_back(self, shard: int) -> RolledBack | None:
        """Return the rollback by an alert rule that holds, `None` if a later decision does, or there is none."""
        rolled_back, promoted = self._rolled_back.get(shard), self._promoted.get(shard)
        if rolled_back is None or rolled_back.follows != self.follows(shard):
            return None
        overtaken = promoted is not None and promoted.follows == rolled_back.follows and self._later[shard] is Promoted
        return None if overtaken else rolled_back

    def follows(self, shard: int) -> str:
        """Return the `decision_hash` of a person's last decision on serving, empty if there is none."""
        return self._serving[shard][1] if shard in self._serving else ""

    def serves(self, model: str, shard: int) -> str:
        """Return the id of the model to serve: `model`, unless a decision names one."""
        by_rule = self.rolled_back(shard) or self.promoted(shard)
        if by_rule is not None:
            return by_rule.model
        return self._serving[shard][0].model if shard in self._serving else model

    def announced_at(self, model: str, shard: int) -> int | None:
        """Return the time (ms) of the last announcement of a version of a model, `None` if there was none."""
        return self._announced_at.get((model, shard))

    def announced(self, model: str, shard: int) -> list[Announced]:
        """Return the announced versions of the model to serve (`model`, unless a decision names one), newest first."""
        return self.announced_of(self.serves(model, shard), shard)

    def announced_of(self, model: str, shard: int) -> list[Announced]:
        """Return the announced versions of a model, newest first."""
        last_first = reversed(self._announced.get((model, shard), {}))
        return sorted(last_first, key=lambda one: one.version, reverse=True)


def _named(decision: Serving) -> VersionId | None:
    named = VersionId(decision.model, decision.epoch or 0, decision.examples or 0)
    return None if decision.epoch is None or decision.examples is None else named
