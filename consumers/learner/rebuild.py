"""Rebuild of a version from the log, in a separate epoch, while the learner continues.

The store receives the new versions only when the rebuild is complete. The epoch's first version holds the start model
and the edits of the log; the second one is the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from consumers.learner.poison_rollback import Shield, unsound
from consumers.model.checkpoints import REBUILD, REBUILD_START, LearnerCheckpoints, Log, Standing
from consumers.model.lanes import Lanes
from consumers.model.log_edits import Edits, editor
from consumers.model.log_replay import TOGETHER
from consumers.model.model_state import LearnerState, Poison
from model_store import Manifest, VersionId
from runtime.exits import RoleRefused
from runtime.kafka_client.records import Record

Reading = Callable[[int, int], Iterable[Record]]
_SAVE_SECONDS: Final = 10.0  # about how much work is repeated if a poison record is found late


@dataclass(frozen=True)
class Plan:
    """Task of a rebuild.

    Attributes
    ----------
    base
        The version to begin from; `None` is an untrained model at the beginning of the log.
    parent
        The version to replace.
    skipped
        Offsets of records that are known to break the model.
    most
        Number of examples to learn; `None` means all up to the end of the log.
    lanes
        Positions of the lanes at the beginning of the log, if it is not the beginning of the lanes.
    """

    edits: Edits
    log: Log
    base: Manifest | None = None
    parent: VersionId | None = None
    skipped: Container[int] = frozenset()
    most: int | None = None
    lanes: Lanes | None = None


@dataclass(frozen=True)
class Rebuilt:
    """Result of a rebuild.

    Attributes
    ----------
    first, made
        The two versions of the new epoch.
    learned, left_out, skipped
        Numbers of examples: learned by the model, removed by the edits, and left out because they break the model.
    """

    first: Manifest
    made: Manifest
    learned: int
    left_out: int
    skipped: int


class Rebuilder:
    """Rebuilds one version.

    Parameters
    ----------
    read
        Returns the committed records of the examples log between two offsets.
    progress
        Called with the current offset from time to time.
    """

    def __init__(
        self,
        checkpoints: LearnerCheckpoints,
        plan: Plan,
        read: Reading,
        say: Callable[[str], None] = print,
        progress: Callable[[int], None] = lambda offset: None,
    ) -> None:
        self._checkpoints = checkpoints
        self._plan = plan
        self._read = read
        self._say = say
        self._progress = progress

    def run(self) -> Rebuilt:
        """Rebuild the version and return the result.

        Raises
        ------
        RoleRefused
            If there is nothing to learn, a lane of the log is out of order, or the model does not answer.
        StoreUnavailable
            If the store does not answer.
        """
        plan = self._plan
        base = self._begin() if plan.base is None else self._checkpoints.load(plan.base)
        begin = plan.log.beginning if plan.base is None else plan.base.offset
        if plan.most is not None and plan.most <= base.learned:
            raise RoleRefused(f"the base version has learned {base.learned} examples already, not {plan.most}")
        frozen = self._checkpoints.freeze(base)
        learning, offset = self._learn(base, begin)
        self._insist_on_enough(learning, base)
        first = self._checkpoints.thaw(frozen)  # from the same bytes as the state that learns the history
        epoch, now_ms = self._checkpoints.next_epoch(), time.time_ns() // 1_000_000
        edits = plan.edits.encode()
        written = [
            self._checkpoints.write(each, Standing(epoch, place, plan.log, plan.parent), reason, now_ms, more)
            for each, place, reason, more in (
                (first, begin, REBUILD_START, edits),
                (learning, offset, REBUILD, None),
            )
        ]
        counts = learning.counts - base.counts
        return Rebuilt(written[0], written[1], counts["learned"], counts["left_out"], counts["skipped"])

    def _begin(self) -> LearnerState:
        base = self._checkpoints.fresh()
        if self._plan.lanes is not None:
            base.lanes = self._plan.lanes
        return base

    def _insist_on_enough(self, learning: LearnerState, base: LearnerState) -> None:
        if learning.learned == base.learned:
            raise RoleRefused("there is nothing to learn: no example of this history is left. Nothing was written")
        if self._plan.most is not None and learning.learned < self._plan.most:
            raise RoleRefused(
                f"this history has only {learning.learned} examples to learn, not {self._plan.most}: "
                "leave --to out to learn them all. Nothing was written"
            )

    def _learn(self, good: LearnerState, begin: int) -> tuple[LearnerState, int]:
        """Return the model after learning the history, and its next offset; `good` is not changed."""
        plan, copy = self._plan, self._checkpoints.copy
        shield = Shield(copy, editor(plan.edits, self._read(begin, plan.edits.until)), plan.skipped)
        learning, offset, saved = copy(good), begin, time.monotonic()
        records, ahead = iter(self._read(begin, plan.log.end)), list[Record]()
        while True:
            # Never further than to the record with which all are learned.
            size = TOGETHER if plan.most is None else min(TOGETHER, plan.most - learning.learned)
            ahead += islice(records, max(size - len(ahead), 0))
            several, ahead = ahead[:size], ahead[size:]
            if not several:
                return self._sound(learning, shield, good), plan.log.end
            try:
                shield.take(learning, several)
                shield.keep(several)
            except Poison as poison:
                several, ahead = several[: poison.at + 1], several[poison.at + 1 :] + ahead
                shield.keep(several)
                learning = self._restored(shield, good)
            offset = several[-1].offset + 1
            self._progress(offset)
            full = self._has_all(learning)
            if full or shield.filling or time.monotonic() - saved > _SAVE_SECONDS:
                learning = self._sound(learning, shield, good)
                good, saved = copy(learning), time.monotonic()
                shield.begin()
                if full and self._has_all(learning):
                    return learning, offset

    def _has_all(self, learning: LearnerState) -> bool:
        return self._plan.most is not None and learning.learned >= self._plan.most

    def _sound(self, learning: LearnerState, shield: Shield, good: LearnerState) -> LearnerState:
        return learning if unsound(learning) is None else self._restored(shield, good)

    def _restored(self, shield: Shield, good: LearnerState) -> LearnerState:
        restored = shield.restore(good)
        for record, reason in restored.found:
            self._say(f"example at offset {record.offset} broke the model and is left out: {reason}")
        return restored.learning
