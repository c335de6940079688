"""A version made anew from the log, in an epoch of its own, beside the learner that goes on.

Nothing of it is in the store before it is all there. The epoch's first version holds the model that it began
with and the edits; the second one is what has been made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from consumers.checkpoints import REBUILD, REBUILD_START, Checkpoints, Log
from consumers.edits import Editor, Edits, editor
from consumers.failures import Refused
from consumers.learning import Learning, Poison, Unfit
from consumers.processor import Record
from consumers.river_model import ModelError
from model_store import Manifest, VersionId
from schemas.codec import CodecError

Reading = Callable[[int, int], Iterable[Record]]
_SAVE_SECONDS: Final = 10.0  # how much work a poison found late can cost, about


@dataclass(frozen=True)
class Plan:
    """What is to be made.

    Attributes
    ----------
    base
        The version to begin from; `None` is a model that has learned nothing, and the beginning of the log.
    parent
        The version that it is to be instead of.
    skipped
        Offsets that are known to break the model.
    most
        How many examples it is to have learned; `None` is all up to the end of the log.
    """

    edits: Edits
    log: Log
    base: Manifest | None = None
    parent: VersionId | None = None
    skipped: frozenset[int] = frozenset()
    most: int | None = None


@dataclass(frozen=True)
class Rebuilt:
    """What has been made.

    Attributes
    ----------
    first, made
        The two versions of the new epoch.
    learned, left_out, skipped
        Examples in this history: learned by the model, as if they had never been, and unfit for it.
    board
        Metrics, as in a manifest.
    """

    first: Manifest
    made: Manifest
    learned: int
    left_out: int
    skipped: int


@dataclass
class _Saved:
    frozen: tuple[bytes, bytes]
    offset: int
    at: float = field(default_factory=time.monotonic)


class Rebuilder:
    """Makes one version anew.

    Parameters
    ----------
    read
        Returns the committed records of the examples log between two offsets.
    progress
        Told the offset that has been read, now and then.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
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
        self._guilty = set(plan.skipped)

    def run(self) -> Rebuilt:
        """Make it, and return what has been made.

        Raises
        ------
        Refused
            Where there is nothing to learn, a lane of the log is out of order, or the model does not answer.
        StoreUnavailable
        """
        plan = self._plan
        base = self._checkpoints.fresh() if plan.base is None else self._checkpoints.load(plan.base)
        begin = plan.log.beginning if plan.base is None else plan.base.offset
        frozen = self._checkpoints.freeze(base)
        learning, offset = self._learn(_Saved(frozen, begin), editor(plan.edits, self._read(begin, plan.edits.until)))
        self._insist_on_enough(learning, base)
        first = self._checkpoints.thaw(frozen)  # of the very bytes that the history was learned from
        epoch, now_ms = self._checkpoints.next_epoch(), time.time_ns() // 1_000_000
        edits = plan.edits.encode()
        written = [
            self._checkpoints.write(each, epoch, place, plan.log, plan.parent, reason, now_ms, more)
            for each, place, reason, more in (
                (first, begin, REBUILD_START, edits),
                (learning, offset, REBUILD, None),
            )
        ]
        counts = learning.counts - base.counts
        return Rebuilt(written[0], written[1], counts["learned"], counts["left_out"], counts["skipped"])

    def _insist_on_enough(self, learning: Learning, base: Learning) -> None:
        if learning.learned == base.learned:
            raise Refused("there is nothing to learn: no example of this history is left. Nothing was written")
        if self._plan.most is not None and learning.learned < self._plan.most:
            raise Refused(
                f"this history has only {learning.learned} examples to learn, not {self._plan.most}: "
                "leave --to out to learn them all. Nothing was written"
            )
        try:
            learning.fingerprint()
        except ModelError as error:
            raise Refused(f"the model made anew answers with no number: {error}. Nothing was written") from error

    def _learn(self, saved: _Saved, edited: Editor) -> tuple[Learning, int]:
        """Return the model that has learned the history, and the offset where it stands."""
        while True:
            learning = self._checkpoints.thaw(saved.frozen)
            offset = saved.offset
            try:
                for record in self._read(saved.offset, self._plan.log.end):
                    if self._has_all(learning):
                        return learning, offset
                    self._take(learning, edited, record)
                    offset = record.offset + 1
                    if offset % 500 == 0:
                        self._progress(offset)
                        if time.monotonic() - saved.at > _SAVE_SECONDS:
                            saved = _Saved(self._checkpoints.freeze(learning), offset)
                return learning, max(offset, self._plan.log.end)
            except Poison as poison:
                self._guilty.add(offset_of := record.offset)
                self._say(f"example at offset {offset_of} broke the model and is left out: {poison.reason}")

    def _has_all(self, learning: Learning) -> bool:
        return self._plan.most is not None and learning.learned >= self._plan.most

    def _take(self, learning: Learning, edited: Editor, record: Record) -> None:
        try:
            entry, left_out = edited.read(record)
            learning.take(entry, record.offset, record.offset in self._guilty, left_out)
        except (CodecError, Unfit):
            return  # as every learner passes over it
