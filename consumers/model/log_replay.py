"""Records of the examples log applied to a learner's state, as a learner has applied them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, TypeAlias

from consumers.model.log_edits import Editor
from consumers.model.model_state import LearnerState, Poison, Unfit
from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.fast_examples import FastExample

TOGETHER: Final = 500  # records decoded together: what a stage reads and writes fits into the processor's caches
_Read: TypeAlias = tuple[FastExample, bool, bool] | None
"""An example, whether it is known to break the model, and whether the edits leave it out; `None` if it is none."""


def apply_records(
    learning: LearnerState, records: Sequence[Record], editor: Editor, skips: Callable[[int], bool]
) -> None:
    """Apply records in their order; pass over those that a learner passes over.

    Parameters
    ----------
    editor
        Reads the log through its edits.
    skips
        Returns whether the record at an offset is known to break the model.

    Raises
    ------
    RoleRefused
        If a lane is out of order.
    Poison
        As `LearnerState.take`; its `at` says on which of the records.
    """
    read = [_read(record, editor, skips) for record in records]
    at = 0
    while at < len(records):
        try:
            at += learning.take_plain(_plain(read, at))
            if at == len(records):
                return
            found = read[at]
        except Poison as poison:
            raise Poison(poison.reason, at + poison.at) from poison
        if found is not None:
            entry, guilty, left_out = found
            try:
                learning.take(entry, records[at].offset, guilty, left_out)
            except Unfit:
                pass  # the learner passed over it too: it never reached the model
            except Poison as poison:
                raise Poison(poison.reason, at) from poison
        at += 1


def _read(record: Record, editor: Editor, skips: Callable[[int], bool]) -> _Read:
    try:
        entry, left_out = editor.read(record)
    except CodecError:
        return None
    return entry, skips(record.offset), left_out


def _plain(read: Sequence[_Read], at: int) -> Iterator[FastExample]:
    for found in islice(read, at, None):
        if found is None or found[1] or found[2]:
            return
        yield found[0]


def in_batches(records: Iterable[Record], most: Callable[[], int | None]) -> Iterator[list[Record]]:
    """Yield records in lists of at most `TOGETHER`, and of at most `most()`; end when that is 0."""
    upcoming = iter(records)
    while True:
        limit = most()
        several = list(islice(upcoming, TOGETHER if limit is None else min(limit, TOGETHER)))
        if not several:
            return
        yield several
