"""Getting a model back from what breaks it: the last good version, a replay, and the guilty record found by bisection.

What was learned since the newest version, or since a state that is kept in memory where none can be written, is kept,
and a version is written only of a model whose answers on its probe
are finite; so a fault that shows late costs a replay, never a bad version. Where the probe fails, the records since
are bisected, from copies of the good state, for the first after which it does. Where it fails after none of them, the
record that the model raised on is the guilty one: the model refuses it, or was ruined by it
(`consumers.model.outlier_influence`).

Where a fault shows late, the search begins at the version that was the newest, and so depends on the clock. Who was
found goes into manifest and chain, and a replay leaves out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from consumers.model.log_edits import NO_EDITS, Editor
from consumers.model.model_state import LearnerState, Poison, Unfit
from consumers.model.river_model import ModelError
from runtime.exits import RoleRefused
from runtime.kafka_client.records import Record
from schemas.codec import CodecError

_MOST_KEPT_BYTES: Final = 256 << 20
_MOST_FOUND: Final = 100  # at once, by their effect: a model that fails on so many fails by itself


class PoisonRecord(NamedTuple):
    """A record that the model is better off without, and why."""

    record: Record
    reason: str


class _Stuck(NamedTuple):
    """Which of the records the model raised on."""

    at: int
    reason: str


@dataclass
class Restored:
    """A model that is sound again, and what was left out for it."""

    learning: LearnerState
    found: list[PoisonRecord] = field(default_factory=list)


class Shield:
    """What was learned since the newest version, and the way back to it.

    Parameters
    ----------
    copy
        Returns a learner's whole state as an object of its own.
    editor
        Reads the log, where the history that is learned is not its own.
    known
        Offsets that are left out from the beginning.

    Attributes
    ----------
    records
        Those since the newest version, in order.
    guilty
        Offsets among them that are left out.
    base
        What they were learned by; `None` is the newest version.
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
        """Go back to this state from now on: it is sound, and no version of it can be written."""
        self.begin()
        self.base = self._copy(learning)

    def begin(self, *records: Record) -> None:
        """There is a new version, and these records were taken in since."""
        self.records, self._bytes, self.base = [], 0, None
        self.guilty.clear()
        for record in records:
            self.keep(record)

    def keep(self, record: Record) -> None:
        """Keep a record for going back, within bounds: past them, going back is what a start does."""
        self._bytes += len(record.value or b"")
        if self.overfull:
            self.records = []
        else:
            self.records.append(record)

    @property
    def overfull(self) -> bool:
        """Whether too much was learned since the newest version to go back to it."""
        return self._bytes > _MOST_KEPT_BYTES

    @property
    def filling(self) -> bool:
        """Whether a version should be written, or this state held, so that there is a way back."""
        return self._bytes > _MOST_KEPT_BYTES // 2

    def take(self, learning: LearnerState, record: Record) -> None:
        """Have a record learned unless it is left out. CodecError, and what `LearnerState.take` raises."""
        entry, left_out = self._editor.read(record)
        learning.take(entry, record.offset, record.offset in self.guilty or record.offset in self._known, left_out)

    # --- what raised, or left the probe without finite answers -------------------------------------

    def restore(self, good: LearnerState) -> Restored:
        """Return a good state with all learned that came since but what breaks it.

        Parameters
        ----------
        good
            `base`, or the newest version as loaded. Left as it is.

        Raises
        ------
        Refused
            Where it is the model that fails and not some records.
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
        """Return the first record after which the model is unsound, and the state just before it."""
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
        """Apply records to a copy, as a learner does; stop where the model raises."""
        learning = self._copy(good)
        for at, record in enumerate(records):
            try:
                self.take(learning, record)
            except (CodecError, Unfit):
                continue
            except Poison as poison:
                return learning, _Stuck(at, poison.reason)
        return learning, None


def unsound(learning: LearnerState) -> str | None:
    """Return why a model's answers on its probe are none; `None` where they are finite."""
    try:
        learning.fingerprint()
    except ModelError as error:
        return f"it leaves the model without finite answers: {error}"
    return None
