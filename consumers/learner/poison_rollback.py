"""Rollback of a broken model: the last good version, a replay, and a bisection for the guilty record.

The records learned since the newest version are kept in memory (or since a state in memory, if no version can be
written). A version is written only if the model's answers on its probe are finite, so a fault that shows late costs a
replay, never a bad version. If the probe fails, copies of the good state are bisected to find the first record after
which it fails. If it fails after none of them, the record on which the model raised is the guilty one: the model
refuses it, or was ruined by it (`consumers.model.outlier_influence`).

If a fault shows late, the search begins at the version that was the newest then, so it depends on the clock. The
guilty records are listed in the manifest and the hash chain, and a replay leaves out the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from consumers.model.log_edits import NO_EDITS, Editor
from consumers.model.log_replay import TOGETHER, apply_records
from consumers.model.model_state import LearnerState, Poison
from consumers.model.river_model import ModelError
from runtime.exits import RoleRefused
from runtime.kafka_client.records import Record

_MOST_KEPT_BYTES: Final = 256 << 20
_MOST_FOUND: Final = 100  # records found in one rollback by their effect; if more, the model itself is at fault


class PoisonRecord(NamedTuple):
    """A record that damages the model, and the reason."""

    record: Record
    reason: str


class _Stuck(NamedTuple):
    """Index of the record on which the model raised, and the error."""

    at: int
    reason: str


@dataclass
class Restored:
    """A model that is sound again, and the records left out for it."""

    learning: LearnerState
    found: list[PoisonRecord] = field(default_factory=list)


class Shield:
    """Records learned since the newest version, and the rollback to it.

    Parameters
    ----------
    copy
        Returns an independent copy of a learner's whole state.
    editor
        Reads the log through its edits, in a rebuild.
    known
        Offsets that are left out from the beginning.

    Attributes
    ----------
    records
        Records since the newest version, in order.
    guilty
        Offsets among them that are left out.
    base
        State before these records; `None` is the newest version.
    """

    def __init__(
        self, copy: Callable[[LearnerState], LearnerState], editor: Editor | None = None, known: Container[int] = ()
    ) -> None:
        self._copy = copy
        self._editor = editor or Editor(NO_EDITS, {})
        self._known = known
        self._bytes = 0
        self.records: list[Record] = []
        self.guilty: set[int] = set()
        self.base: LearnerState | None = None

    def hold(self, learning: LearnerState) -> None:
        """Use this sound state for rollbacks from now on, because no version of it can be written."""
        self.begin()
        self.base = self._copy(learning)

    def begin(self, *records: Record) -> None:
        """Start from a new version; `records` were learned since."""
        self.records, self._bytes, self.base = [], 0, None
        self.guilty.clear()
        self.keep(records)

    def keep(self, records: Sequence[Record]) -> None:
        """Keep records for a rollback, within a limit; beyond it, only a restart can roll back."""
        self._bytes += sum([len(record.value or b"") for record in records])
        if self.overfull:
            self.records = []
        else:
            self.records += records

    @property
    def overfull(self) -> bool:
        """True if too much was learned since the newest version for a rollback."""
        return self._bytes > _MOST_KEPT_BYTES

    @property
    def filling(self) -> bool:
        """True if a version should be written, or the state held, so that a rollback stays possible."""
        return self._bytes > _MOST_KEPT_BYTES // 2

    def take(self, learning: LearnerState, records: Sequence[Record]) -> None:
        """Learn records except those that are left out. Raises the errors of `apply_records`."""
        apply_records(learning, records, self._editor, lambda offset: offset in self.guilty or offset in self._known)

    # --- what raised, or left the probe without finite answers -------------------------------------

    def restore(self, good: LearnerState) -> Restored:
        """Return a good state that has learned all later records except those that break it.

        Parameters
        ----------
        good
            `base`, or the newest version as loaded. It is not changed.

        Raises
        ------
        RoleRefused
            If the model itself fails, and not some records.
        """
        restored = Restored(good)
        records: Sequence[Record] = self.records
        by_effect = 0
        while True:
            whole, stuck = self._replay(good, records)
            before = records
            if stuck is not None:
                before = records[: stuck.at]
                whole, _ = self._replay(good, before)
            reason = unsound(whole)
            if reason is not None:
                good, at = self._bisect(good, before, reason)
                by_effect += 1
            elif stuck is not None:
                good, at, reason = whole, stuck.at, stuck.reason
            else:
                restored.learning = whole
                return restored
            if by_effect > _MOST_FOUND:
                raise RoleRefused(
                    f"more than {_MOST_FOUND} examples leave the model without finite answers ({reason}): it fails by "
                    "itself, as with a learning rate that is too high. What was learned before serves on; correct "
                    "the model, and start the learner once with --new-epoch fresh"
                )
            self.guilty.add(records[at].offset)
            restored.found.append(PoisonRecord(records[at], reason))
            records = records[at:]

    def _bisect(self, good: LearnerState, records: Sequence[Record], reason: str) -> tuple[LearnerState, int]:
        """Return the state before the first record after which the model is unsound, and that record's index."""
        if unsound(good) is not None or not records:
            raise RoleRefused(
                f"the model answers with no number ({reason}) and nothing was learned since its newest version. Start "
                "the learner once with --new-epoch replay"
            )
        low, high = 0, len(records)  # sound before `low`, unsound after `high - 1`
        while high - low > 1:
            middle = (low + high) // 2
            trial, stuck = self._replay(good, records[low:middle])
            if stuck is None and unsound(trial) is None:
                good, low = trial, middle
            else:
                high = middle
        return good, low

    # --- replays -----------------------------------------------------------------------------------

    def _replay(self, good: LearnerState, records: Sequence[Record]) -> tuple[LearnerState, _Stuck | None]:
        """Apply records to a copy, as a learner does; stop if the model raises."""
        learning = self._copy(good)
        for at in range(0, len(records), TOGETHER):
            try:
                self.take(learning, records[at : at + TOGETHER])
            except Poison as poison:
                return learning, _Stuck(at + poison.at, poison.reason)
        return learning, None


def unsound(learning: LearnerState) -> str | None:
    """Return the reason why a model's answers on its probe are invalid; `None` if they are finite."""
    try:
        learning.fingerprint()
    except ModelError as error:
        return f"it leaves the model without finite answers: {error}"
    return None
