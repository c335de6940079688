"""Verification of a version: rebuilds it from the log and compares the result."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from consumers.model.checkpoints import LearnerCheckpoints, cpu_name
from consumers.model.log_edits import NO_EDITS, Editor
from consumers.model.model_state import LearnerState, Unfit
from model_store import Manifest, VersionId
from model_store.offset_runs import Offsets
from runtime.kafka_client.records import Record
from schemas.codec import CodecError


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
    if learning.learned == most:
        return count
    for record in records:
        count += 1
        if count % 500 == 0:
            progress(record.offset)
        try:
            entry, left_out = reader.read(record)
            learning.take(entry, record.offset, record.offset in skipped, left_out)
        except (CodecError, Unfit):
            continue  # the learner passed over it too: it never reached the model
        if learning.learned == most:
            break
    return count
