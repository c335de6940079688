"""Making a version again from the log, to see that it is what the log says and nothing else."""

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
    """What making a version again has shown.

    Attributes
    ----------
    base
        The version that it was made again from.
    replayed
        Entries of the log that were applied to that.
    learned, chain, fingerprint
        Whether the number of examples, the hash chain and the answers are those of the manifest; of answers
        `None` where the version was written on another kind of CPU, which may differ in the last bit.
    """

    version: VersionId
    base: VersionId
    replayed: int
    learned: bool
    chain: bool
    fingerprint: bool | None

    @property
    def holds(self) -> bool:
        """Whether the version is what the log says."""
        return self.learned and self.chain and self.fingerprint is not False


def verify(
    checkpoints: LearnerCheckpoints,
    target: Manifest,
    base: Manifest,
    records: Iterable[Record],
    progress: Callable[[int], None] = lambda offset: None,
    edited: Editor | None = None,
) -> Verified:
    """Load `base`, apply to it what the log has between the two, and compare with `target`.

    Parameters
    ----------
    records
        Of the examples log, from `base.offset` up to `target.offset`, committed ones only.
    edited
        What reads them, where the epoch's history is not the log's own.
    progress
        Told the offset that has been read, now and then.

    Raises
    ------
    Refused
        Where the base cannot be loaded, or a lane of the log is out of order.
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
    """Apply entries of the log as a learner does, but those at `skipped` offsets; return how many there were.

    Parameters
    ----------
    most
        Stop where the model has learned so many examples: what is left of `records` can be gone on with.
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
            continue  # as the learner passed over it: nothing of it reached the model
        if learning.learned == most:
            break
    return count
