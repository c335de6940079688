"""Two levels of keys in random order, so that a commit changes few pages of a large store.

LMDB copies each page that a transaction changes, and the ids of events are in random order: in one large tree nearly
each change is on a page of its own. Therefore changes go to a small tree first, the fresh level. When it is full, the
next of its entries in the order of their keys move to the main tree: neighbours there, which share pages. Both levels
are in one LMDB file, and an entry leaves one in the transaction in which it comes to the other. So after a crash both
are as some commit left them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, cast

import lmdb

_RANDOM: Final = frozenset(b"ew")  # first bytes of the keys that are made of ids, see `entries`
_NAME: Final = b"fresh"
_GONE: Final = b""  # in the fresh level: the key was deleted, although the main level may have it
# Entries of the fresh level. With more, a turn changes more of its pages; with fewer, neighbours share fewer pages.
_FRESH_MOST: Final = 30_000
# Few at once, because LMDB keeps a buffer for each page of its largest transaction.
_MOVED_AT_ONCE: Final = 2_000
_MOST_MOVES: Final = 15  # after one commit, so that none takes long

Pair = tuple[bytes, bytes]


class Levels:
    """Reads and changes both levels, in the caller's transactions.

    Parameters
    ----------
    env
        Opened with room for one named database, and with no open transaction.
    """

    def __init__(self, env: lmdb.Environment) -> None:
        self._fresh = env.open_db(_NAME)
        self._next = b""  # key at which entries go on moving

    # --- reading -----------------------------------------------------------------------------------

    def get(self, txn: lmdb.Transaction, key: bytes) -> bytes | None:
        """Return the value of a key, `None` if it has none."""
        if key[0] in _RANDOM and (found := txn.get(key, db=self._fresh)) is not None:
            return bytes(found) if found != _GONE else None
        value = txn.get(key)
        return None if value is None else bytes(value)

    def get_many(self, txn: lmdb.Transaction, keys: Sequence[bytes]) -> list[Pair]:
        """Return the pairs of those keys that exist, in no certain order."""
        with txn.cursor(self._fresh) as cursor:
            fresh = dict(_pairs(cursor.getmulti([key for key in keys if key[0] in _RANDOM])))
        with txn.cursor() as cursor:
            found = _pairs(cursor.getmulti([key for key in keys if key not in fresh]))
        return [*(pair for pair in fresh.items() if pair[1] != _GONE), *found]

    def scan(self, txn: lmdb.Transaction, prefix: bytes, start: bytes) -> Iterator[Pair]:
        """Yield the pairs whose key begins with `prefix`, from key `start` on, in order."""
        main = _scan(txn.cursor(), prefix, start)
        if prefix and prefix[0] not in _RANDOM:
            return main
        return _over(main, _scan(txn.cursor(self._fresh), prefix, start))

    def fresh(self, txn: lmdb.Transaction) -> int:
        """Return the number of entries of the fresh level."""
        return int(txn.stat(self._fresh)["entries"])

    # --- changes -----------------------------------------------------------------------------------

    def put_many(self, txn: lmdb.Transaction, pairs: Sequence[Pair]) -> None:
        """Put all pairs; fastest in the order of their keys."""
        fresh = [pair for pair in pairs if pair[0][0] in _RANDOM and pair[1] != _GONE]
        if fresh:
            with txn.cursor(self._fresh) as cursor:
                cursor.putmulti(fresh)
        if len(fresh) < len(pairs):
            self.fill(txn, [pair for pair in pairs if pair[0][0] not in _RANDOM or pair[1] == _GONE])

    def fill(self, txn: lmdb.Transaction, pairs: Sequence[Pair]) -> None:
        """Put all pairs into the main level."""
        for key, _ in pairs:
            if key[0] in _RANDOM:
                txn.delete(key, db=self._fresh)
        with txn.cursor() as cursor:
            cursor.putmulti(pairs)

    def clear(self, txn: lmdb.Transaction, keys: Iterable[bytes]) -> None:
        """Delete the keys from both levels."""
        for key in keys:
            if key[0] in _RANDOM:
                txn.delete(key, db=self._fresh)
            txn.delete(key)

    def delete(self, txn: lmdb.Transaction, key: bytes) -> None:
        """Delete a key if it is there."""
        if key[0] in _RANDOM:
            txn.put(key, _GONE, db=self._fresh)
        else:
            txn.delete(key)

    def settle(self, env: lmdb.Environment) -> None:
        """Move entries to the main level while the fresh level has too many; call it between two transactions."""
        for _ in range(_MOST_MOVES):
            with env.begin(write=True) as txn:
                surplus = self.fresh(txn) - _FRESH_MOST
                if surplus <= 0:
                    return
                self._move(txn, min(surplus, _MOVED_AT_ONCE))

    def _move(self, txn: lmdb.Transaction, count: int) -> None:
        """Move at most `count` neighbours."""
        moved: list[Pair] = []
        with txn.cursor(self._fresh) as cursor:
            if not cursor.set_range(self._next):
                cursor.first()
            while len(moved) < count and cursor.key():
                moved += _pairs([cursor.item()])
                cursor.delete()
            self._next = bytes(cursor.key())
        with txn.cursor() as cursor:
            cursor.putmulti([pair for pair in moved if pair[1] != _GONE])
        for key, value in moved:
            if value == _GONE:
                txn.delete(key)


def _pairs(found: object) -> list[Pair]:
    """Return what LMDB returns without buffers, which its types do not tell."""
    return cast("list[Pair]", found)


def _scan(cursor: lmdb.Cursor, prefix: bytes, start: bytes) -> Iterator[Pair]:
    with cursor:
        if not cursor.set_range(max(start, prefix)):
            return
        for raw, value in cursor:
            key = bytes(raw)
            if not key.startswith(prefix):
                return
            if key != _NAME:  # LMDB keeps the fresh level under this key of the main one
                yield key, bytes(value)


def _over(main: Iterable[Pair], fresh: Iterable[Pair]) -> Iterator[Pair]:
    """Yield the pairs of both in the order of their keys; of a key that both have, that of `fresh`, unless deleted."""
    older = iter(main)
    ahead = next(older, None)
    for pair in fresh:
        while ahead is not None and ahead[0] < pair[0]:
            yield ahead
            ahead = next(older, None)
        if ahead is not None and ahead[0] == pair[0]:
            ahead = next(older, None)
        if pair[1] != _GONE:
            yield pair
    if ahead is not None:
        yield ahead
        yield from older
