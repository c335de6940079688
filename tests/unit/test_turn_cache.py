"""A turn's cache: whoever reads through it sees every change, and the store has each change after a flush."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.joiner import turn_cache
from consumers.joiner.local_store import MemoryStore
from consumers.joiner.turn_cache import TurnCache

KEYS = st.sampled_from([b"a1", b"a2", b"a3", b"b1", b"b2"])
STEPS = st.lists(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=3))
    | st.tuples(st.sampled_from(["delete", "get", "load", "scan", "flush"]), KEYS, st.just(b"")),
    max_size=40,
)


@given(STEPS)
def test_reads_and_scans_see_what_the_turn_has_changed(steps: list[tuple[str, bytes, bytes]]) -> None:
    store, expected = MemoryStore(), {b"a1": b"old", b"b1": b"old"}
    store.put_many(sorted(expected.items()))
    cache = TurnCache(store)
    for step, key, value in steps:
        if step == "put":
            cache.put(key, value)
            expected[key] = value
        elif step == "delete":
            cache.delete(key)
            expected.pop(key, None)
        elif step == "load":
            cache.load([key, b"a2", key])
        elif step == "scan":
            found = [pair for pair in sorted(expected.items()) if pair[0].startswith(key[:1])]
            assert list(cache.scan(key[:1], key[:1])) == found
        elif step == "flush":
            cache.flush()
            assert dict(store.scan(b"", b"")) == expected
        assert cache.get(key) == expected.get(key)
    cache.flush()
    assert dict(store.scan(b"", b"")) == expected


def test_a_long_turn_does_not_keep_all_its_changes_in_memory() -> None:
    store = MemoryStore()
    cache = TurnCache(store)
    for number in range(turn_cache.MOST_CHANGES + 10):
        cache.put(b"k%d" % number, b"")
    in_store = sum(1 for _ in store.scan(b"k", b"k"))
    assert in_store == turn_cache.MOST_CHANGES
    assert cache.get(b"k0") == b""


def test_each_key_is_written_once() -> None:
    class Counting(MemoryStore):
        puts = 0

        def put(self, key: bytes, value: bytes) -> None:
            self.puts += 1
            super().put(key, value)

    store = Counting()
    cache = TurnCache(store)
    for value in (b"waiting", b"joined"):
        cache.put(b"a", value)
    cache.flush()
    cache.flush()
    assert (store.puts, store.get(b"a")) == (1, b"joined")
