"""Cache of one turn in front of the local store.

It reads many keys at once, and writes each changed key once. A prediction and its label often arrive in one turn, so
the second change of an id needs no access to the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from consumers.joiner.local_store import LocalStore

MOST_CHANGES: Final = 50_000
"""Changes that are kept in memory: a recovery ends any number of waits in one turn."""


class TurnCache:
    """The entries that a turn has read or changed. The store has the changes only after `flush`."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._known: dict[bytes, bytes | None] = {}
        self._changed: dict[bytes, bytes | None] = {}

    def load(self, keys: Iterable[bytes]) -> None:
        """Read these keys, so that the next `get` of each is quick."""
        known = self._known
        missing = sorted({key for key in keys if key not in known})
        known.update(dict.fromkeys(missing))
        known.update(self._store.get_many(missing))

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._known[key]
        except KeyError:
            found = self._known[key] = self._store.get(key)
            return found

    def put(self, key: bytes, value: bytes) -> None:
        self._known[key] = self._changed[key] = value
        self._bound()

    def delete(self, key: bytes) -> None:
        self._known[key] = self._changed[key] = None
        self._bound()

    def scan(self, prefix: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield pairs as `LocalStore.scan` does; the changes are flushed first."""
        self._write()
        return self._store.scan(prefix, start)

    def flush(self) -> None:
        """Write the changes to the store, in the order of their keys, and forget everything."""
        self._write()
        self._known.clear()

    def _bound(self) -> None:
        if len(self._changed) == MOST_CHANGES:
            self.flush()

    def _write(self) -> None:
        if not self._changed:
            return
        changed = sorted(self._changed.items())
        self._store.put_many([(key, value) for key, value in changed if value is not None])
        for key, value in changed:
            if value is None:
                self._store.delete(key)
        self._changed.clear()
