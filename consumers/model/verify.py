"""Verification of a version: rebuilds it from the log and compares the result."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from consumers.model.checkpoints import LearnerCheckpoints, cpu_name
from consumers.model.log_edits import NO_EDITS, Editor
from consumers.model.log_replay import apply_records, in_batches
from consumers.model.model_state import LearnerState
from model_store import Manifest, VersionId
from model_store.offset_runs import Offsets
from runtime.kafka_client.records import Record


@dataclass(frozen=True)
class Verified:
    """Result of rebuilding a version.

    Attributes
    ----------
    base
        The version that the rebuild began with.
    replayed
        Number of examples that were applied to it.
    learned, chain, fingerprint
        True if the number of examples, the hash chain and the answers equal the manifest's. `fingerprint` is `None` if
        the version was written on another kind of CPU, where answers may differ in the last bit.
    """

    version: VersionId
    base: VersionId
    replayed: int
    learned: bool
    chain: bool
    fingerprint: bool | None

    @property
    def holds(self) -> bool:
        """Return whether the version matches the log."""
        return self.learned and self.chain and self.fingerprint is not False


def verify(
    checkpoints: LearnerCheckpoints,
    target: Manifest,
    base: Manifest,
    records: Iterable[Record],
    progress: Callable[[int], None] = lambda offset: None,
    edited: Editor | None = None,
) -> Verified:
    """Load `base`, apply the examples between the two versions, and compare the result with `target`.

    Parameters
    ----------
    records
        Committed records of the examples log, from `base.offset` up to `target.offset`.
    edited
        The reader that applies the epoch's edits, if it has any.
    progress
        Called with the current offset from time to time.

    Raises
    ------
    RoleRefused
        If the base cannot be loaded, or a lane of the log is out of order.
    """
    learning = checkpoints.load(base)
    replayed = replay(learning, records, Offsets(target.skipped), progress, edited)
    same_machine = target.cpu == cpu_name()
    return Verified(
        target.version,
        base.version,
        replayed,
        learned=learning.learned == target.examples,
        chain=learning.chain.hex() == target.chain,
        fingerprint=learning.fingerprint() == target.fingerprint if same_machine else None,
    )


def replay(
    learning: LearnerState,
    records: Iterable[Record],
    skipped: Container[int],
    progress: Callable[[int], None],
    edited: Editor | None = None,
    most: int | None = None,
) -> int:
    """Apply examples of the log as a learner does, without those at `skipped` offsets; return their number.

    Parameters
    ----------
    most
        Stop when the model has learned so many examples; a later call can continue with the rest of `records`.
    """
    reader = edited or Editor(NO_EDITS, {})
    count = 0
    # Never further than to the record with which `most` are learned: the next ones belong to a later call.
    for several in in_batches(records, lambda: None if most is None else most - learning.learned):
        apply_records(learning, several, reader, lambda offset: offset in skipped)
        count += len(several)
        progress(several[-1].offset)
    return count
