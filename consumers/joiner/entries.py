"""Keys and bytes of one partition's entries in the local store, behind a turn's cache.

e <partition> <id>        state of an id's prediction (`JoinEntry`)
p <partition> <offset>    time, key of the id, and record of a prediction
w <partition> <id>        labels of an id without a prediction
l <partition> <offset>    time and key of such a label
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Final

from consumers.joiner.join_state import (
    PLACE_BYTES,
    QUEUED,
    JoinEntry,
    Waiting,
    pack_entry,
    unpack_entry,
    unpack_waiting,
)
from consumers.joiner.local_store import LocalStore
from consumers.joiner.turn_cache import TurnCache

_LONGEST_PLAIN_ID: Final = 400  # the local store's keys are bounded; longer ids are kept by their hash
_PREFIX_BYTES: Final = 3


class PartitionEntries:
    """The entries of one partition. Changes are in the store after `flush`."""

    def __init__(self, store: LocalStore, partition: int) -> None:
        self._store = TurnCache(store)
        place = partition.to_bytes(2, "big")
        self._states = b"e" + place
        self._predictions = b"p" + place
        self._labels = b"l" + place
        self._without = b"w" + place

    def key(self, event_id: bytes) -> bytes:
        """Return the key of an id, UTF-8, without a prefix."""
        if len(event_id) > _LONGEST_PLAIN_ID:
            return b"\xff" + hashlib.blake2b(event_id, digest_size=32).digest()
        return event_id

    def flush(self) -> None:
        self._store.flush()

    # --- state of an id ----------------------------------------------------------------------------

    def load(self, keys: Sequence[bytes]) -> None:
        """Read the states of these ids at once."""
        prefix = self._states
        self._store.load([prefix + key for key in keys])

    def get(self, key: bytes) -> JoinEntry | None:
        raw = self._store.get(self._states + key)
        return None if raw is None else unpack_entry(raw)

    def put(self, key: bytes, entry: JoinEntry) -> None:
        self._store.put(self._states + key, pack_entry(entry))

    def delete(self, key: bytes) -> None:
        self._store.delete(self._states + key)

    # --- predictions, by offset --------------------------------------------------------------------

    def load_predictions(self, offsets: Sequence[int]) -> None:
        """Read the predictions at these offsets at once."""
        prefix = self._predictions
        self._store.load([prefix + _place(offset) for offset in offsets])

    def put_prediction(self, offset: int, time: int, key: bytes, record: bytes) -> None:
        """Keep a prediction; an empty `record` replaces one that no label can match any more."""
        whole = self._states + key
        self._store.put(self._predictions + _place(offset), QUEUED.pack(time, len(whole)) + whole + record)

    def prediction(self, offset: int) -> bytes:
        """Return the record of the prediction that waits at `offset`."""
        queued = self._store.get(self._predictions + _place(offset))
        assert queued is not None  # noqa: S101 - kept until the id is forgotten
        return queued[QUEUED.size + QUEUED.unpack_from(queued)[1] :]

    def delete_prediction(self, offset: int) -> None:
        self._store.delete(self._predictions + _place(offset))

    def predictions_from(self, offset: int) -> Iterator[tuple[int, int, bytes]]:
        """Yield offset, time and key of each prediction; nothing may be changed meanwhile."""
        for queued, value in self._store.scan(self._predictions, self._predictions + _place(offset)):
            time, size = QUEUED.unpack_from(value)
            key = value[QUEUED.size + _PREFIX_BYTES : QUEUED.size + size]
            yield int.from_bytes(queued[_PREFIX_BYTES:], "big"), time, key

    # --- labels without a prediction ---------------------------------------------------------------

    def load_labels(self, keys: Sequence[bytes]) -> None:
        """Read the waiting labels of these ids at once."""
        prefix = self._without
        self._store.load([prefix + key for key in keys])

    def labels(self, key: bytes) -> list[Waiting]:
        raw = self._store.get(self._without + key)
        return [] if raw is None else unpack_waiting(raw)

    def put_labels(self, key: bytes, waiting: Sequence[Waiting]) -> None:
        """Keep the waiting labels of an id; nothing is kept if there are none."""
        if waiting:
            self._store.put(self._without + key, pack_entry(waiting))
        else:
            self._store.delete(self._without + key)

    def queue_label(self, offset: int, time: int, key: bytes) -> None:
        """Note that a label of this id waits."""
        whole = self._states + key
        self._store.put(self._labels + _place(offset), _place(time) + whole)

    def unqueue_label(self, offset: int) -> None:
        self._store.delete(self._labels + _place(offset))

    def queued_labels(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield offset, time and key of each label that has waited; nothing may be changed meanwhile."""
        for queued, value in self._store.scan(self._labels, self._labels):
            time, key = int.from_bytes(value[:PLACE_BYTES], "big"), value[PLACE_BYTES + _PREFIX_BYTES :]
            yield int.from_bytes(queued[_PREFIX_BYTES:], "big"), time, key


def _place(number: int) -> bytes:
    """Return an offset or a time, so that keys are in its order."""
    return number.to_bytes(PLACE_BYTES, "big")
