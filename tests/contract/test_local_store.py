"""One suite over the joiner's memory, on disk and not; and both beside a plain dict."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consumers.joiner import store_levels
from consumers.joiner.local_store import DiskStore, LocalStore, LocalStoreError, MemoryStore
from runtime import failpoints

Open = Callable[[], LocalStore]


@pytest.fixture(params=["memory", "disk"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Return what closes the store as it is and opens it again."""
    memory = MemoryStore()
    opened: list[LocalStore] = []

    def again() -> LocalStore:
        for store in opened:
            store.close()
        opened[:] = [memory if request.param == "memory" else DiskStore(tmp_path / "local")]
        return opened[0]

    yield again
    for store in opened:
        store.close()


@pytest.fixture
def store(reopen: Open) -> LocalStore:
    return reopen()


def test_reads_see_what_was_put_before_it_is_committed(store: LocalStore) -> None:
    assert store.get(b"a") is None
    store.put(b"a", b"1")
    assert store.get(b"a") == b"1"
    store.put(b"a", b"2")
    assert store.get(b"a") == b"2"
    store.delete(b"a")
    store.delete(b"a")
    assert store.get(b"a") is None


def test_an_empty_value_is_a_value(store: LocalStore) -> None:
    store.put(b"a", b"")
    assert store.get(b"a") == b""
    assert list(store.scan(b"a", b"")) == [(b"a", b"")]


def test_a_scan_is_in_the_order_of_bytes_from_its_start_within_its_prefix(store: LocalStore) -> None:
    for key in (b"b\xff", b"b\x00", b"b", b"a\xff\xff", b"c", b"b\x80", b"bb"):
        store.put(key, key.upper())
    keys = [key for key, _ in store.scan(b"b", b"")]
    assert keys == [b"b", b"b\x00", b"bb", b"b\x80", b"b\xff"]
    assert [key for key, _ in store.scan(b"b", b"bb")] == [b"bb", b"b\x80", b"b\xff"]
    assert [key for key, _ in store.scan(b"b", b"ba")] == [b"bb", b"b\x80", b"b\xff"]
    assert list(store.scan(b"b", b"c")) == []
    assert list(store.scan(b"nothing", b"")) == []
    assert dict(store.scan(b"b", b""))[b"bb"] == b"BB"


def test_a_scan_may_be_left_early_and_the_store_changed_then(store: LocalStore) -> None:
    for number in range(10):
        store.put(b"k%d" % number, b"")
    first = next(iter(store.scan(b"k", b"")))
    store.delete(first[0])
    store.put(b"k", b"new")
    assert [key for key, _ in store.scan(b"k", b"")] == [b"k", *(b"k%d" % number for number in range(1, 10))]


def test_a_rollback_forgets_all_since_the_commit_and_nothing_else(store: LocalStore) -> None:
    store.put(b"kept", b"1")
    store.put(b"changed", b"1")
    store.commit()
    store.put(b"changed", b"2")
    store.put(b"changed", b"3")
    store.put(b"new", b"1")
    store.delete(b"kept")
    store.rollback()
    assert list(store.scan(b"", b"")) == [(b"changed", b"1"), (b"kept", b"1")]
    store.rollback()
    assert store.get(b"kept") == b"1"


def test_a_commit_survives_and_what_came_after_it_does_not(reopen: Open) -> None:
    store = reopen()
    store.put(b"a", b"1")
    store.put(b"b", b"1")
    store.commit()
    store.commit()
    store.put(b"a", b"2")
    store.delete(b"b")
    again = reopen()
    assert list(again.scan(b"", b"")) == [(b"a", b"1"), (b"b", b"1")]


def test_many_and_large_values_come_back(reopen: Open) -> None:
    store = reopen()
    for number in range(3000):
        store.put(b"n%05d" % number, b"v%d" % number)
    store.put(b"z" * 500, bytes(1 << 20))
    store.commit()
    again = reopen()
    assert sum(1 for _ in again.scan(b"n", b"")) == 3000
    assert again.get(b"n02999") == b"v2999"
    assert again.get(b"z" * 500) == bytes(1 << 20)


def test_a_view_has_what_was_committed_when_it_was_taken_and_nothing_since(store: LocalStore) -> None:
    store.put_many([(b"a", b"1"), (b"b", b"1"), (b"c", b"1")])
    store.commit()
    store.put(b"a", b"2")
    store.delete(b"b")
    store.put(b"d", b"2")
    with store.view() as view:
        store.commit()
        store.put(b"a", b"3")
        store.commit()
        assert list(view.scan(b"", b"")) == [(b"a", b"1"), (b"b", b"1"), (b"c", b"1")]
        assert (view.get(b"b"), view.get(b"d")) == (b"1", None)
    assert list(store.scan(b"", b"")) == [(b"a", b"3"), (b"c", b"1"), (b"d", b"2")]


def test_a_view_is_read_in_another_thread_while_the_store_is_written(store: LocalStore) -> None:
    store.put_many([(b"%05d" % number, b"x" * 50) for number in range(5000)])
    store.commit()
    found: list[int] = []

    def read() -> None:
        with store.view() as view:
            found.append(sum(1 for _ in view.scan(b"", b"")))

    reading = threading.Thread(target=read)
    reading.start()
    while reading.is_alive():
        store.put(b"more", b"y")
        store.commit()
    reading.join()
    assert found[0] in (5000, 5001)


def test_a_file_that_is_no_store_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a store " * 1000)
    with pytest.raises(LocalStoreError, match="delete the folder to have it rebuilt"):
        DiskStore(tmp_path)


# --- beside a dict ---------------------------------------------------------------------------------

LEVELLED = [b"e%d" % number for number in range(8)]
KEYS = (
    st.binary(min_size=1, max_size=3)
    | st.sampled_from([b"p:1", b"p:2", b"p:3", b"q:1", b"\xff", b"\x00"])
    | st.sampled_from([*LEVELLED, b"w1", b"w2", b"f"])
)
PREFIXES = st.binary(max_size=2) | st.sampled_from([b"e", b"w", b"p", b""])


@pytest.fixture(autouse=True, scope="module")
def small_fresh_level() -> Iterator[None]:
    """Let the disk's entries move between its levels after a few changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_levels, "_FRESH_MOST", 3)
        patch.setattr(store_levels, "_MOVED_AT_ONCE", 2)
        yield


class BothAndADict(RuleBasedStateMachine):
    """Whatever is done, in whatever order: both stores hold what a dict would."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.memory = MemoryStore()
        self.disk = DiskStore(self.folder)
        self.now: dict[bytes, bytes] = {}
        self.saved: dict[bytes, bytes] = {}

    def both(self) -> tuple[LocalStore, LocalStore]:
        return self.memory, self.disk

    @rule(key=KEYS, value=st.binary(max_size=5))
    def put(self, key: bytes, value: bytes) -> None:
        self.now[key] = value
        for store in self.both():
            store.put(key, value)

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        self.now.pop(key, None)
        for store in self.both():
            store.delete(key)

    @rule(pairs=st.dictionaries(KEYS, st.binary(max_size=5), max_size=6), direct=st.booleans())
    def put_many(self, pairs: dict[bytes, bytes], direct: bool) -> None:
        self.now.update(pairs)
        for store in self.both():
            put = store.fill if direct else store.put_many
            put(sorted(pairs.items()))

    @rule(keys=st.lists(KEYS, unique=True, max_size=6))
    def clear(self, keys: list[bytes]) -> None:
        for key in keys:
            self.now.pop(key, None)
        for store in self.both():
            store.clear(sorted(keys))

    @rule()
    def commit(self) -> None:
        self.saved = dict(self.now)
        for store in self.both():
            store.commit()

    @rule()
    def rollback(self) -> None:
        self.now = dict(self.saved)
        for store in self.both():
            store.rollback()

    @rule()
    def reopen(self) -> None:
        self.now = dict(self.saved)
        for store in self.both():
            store.close()
        self.disk = DiskStore(self.folder)

    @rule(key=KEYS)
    def get(self, key: bytes) -> None:
        assert [store.get(key) for store in self.both()] == [self.now.get(key)] * 2

    @rule(keys=st.lists(KEYS, unique=True, max_size=6))
    def get_many(self, keys: list[bytes]) -> None:
        wanted = [(key, self.now[key]) for key in sorted(keys) if key in self.now]
        assert [sorted(store.get_many(sorted(keys))) for store in self.both()] == [wanted] * 2

    @rule()
    def view(self) -> None:
        for store in self.both():
            with store.view() as view:
                assert dict(view.scan(b"", b"")) == self.saved
                assert {key: view.get(key) for key in self.saved} == self.saved

    @rule(prefix=PREFIXES, start=st.binary(max_size=3), most=st.integers(0, 20))
    def scan(self, prefix: bytes, start: bytes, most: int) -> None:
        wanted = sorted((k, v) for k, v in self.now.items() if k.startswith(prefix) and k >= start)
        for store in self.both():
            found = [pair for pair, _ in zip(store.scan(prefix, start), range(most), strict=False)]
            assert found == wanted[:most]

    @invariant()
    def hold_the_same(self) -> None:
        if hasattr(self, "now"):
            for store in self.both():
                assert dict(store.scan(b"", b"")) == self.now
                some = {key: self.now[key] for key in LEVELLED if key in self.now}
                assert {key: value for key in LEVELLED if (value := store.get(key)) is not None} == some
                assert dict(store.get_many(LEVELLED)) == some

    def teardown(self) -> None:
        if hasattr(self, "disk"):
            self.disk.close()
            shutil.rmtree(self.folder)


TestBothAndADict = BothAndADict.TestCase
TestBothAndADict.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_a_store_that_was_cut_short_is_named_with_the_way_out(tmp_path: Path) -> None:
    store = DiskStore(tmp_path / "store")
    for number in range(20_000):
        store.put(b"%d" % number, b"x" * 100)
    store.commit()
    store.close()
    data = tmp_path / "store" / "data.mdb"
    with data.open("r+b") as file:
        file.truncate(12_288)
    with pytest.raises(LocalStoreError, match="delete the folder"):
        DiskStore(tmp_path / "store")


def without_its_last_page(folder: Path) -> DiskStore:
    """Return an open store whose file lacks a page at its end that is not in use, as LMDB leaves one now and then."""
    store = DiskStore(folder)
    store.put(b"a", b"1")
    store.commit()
    for change in (store.put, lambda key, value: store.delete(key)):
        for number in range(2000):
            change(b"b%05d" % number, b"x" * 100)
        store.commit()
    for _ in range(10):  # what is left moves to pages that were let go of, away from the end
        store.put(b"a", b"1")
        store.commit()
    data = folder / "data.mdb"
    os.truncate(data, data.stat().st_size - 4096)
    return store


def test_a_store_that_lacks_a_page_it_has_no_use_for_is_not_taken_for_one_cut_short(
    tmp_path: Path, killed: Callable[[DiskStore], None]
) -> None:
    for number, end in enumerate((DiskStore.close, killed)):
        store = without_its_last_page(tmp_path / str(number))
        store.put(b"a", b"2")
        store.commit()
        end(store)
        said: list[str] = []
        store = DiskStore(tmp_path / str(number), said.append)
        assert store.get(b"a") == b"2"
        store.close()
        assert said == []


def test_a_store_killed_before_its_file_is_as_long_as_it_says_is_rebuilt(
    tmp_path: Path, killed: Callable[[DiskStore], None]
) -> None:
    killed(without_its_last_page(tmp_path))
    said: list[str] = []
    store = DiskStore(tmp_path, said.append)
    assert store.get(b"a") is None
    assert said == [f"local store {tmp_path} is shorter than it should be: it is rebuilt from the topics"]
    store.put(b"a", b"3")
    store.commit()
    store.close()
    store = DiskStore(tmp_path, said.append)
    assert store.get(b"a") == b"3"
    store.close()


def written(folder: Path, boot: str) -> DiskStore:
    """Return a store with one committed value, open."""
    store = DiskStore(folder, boot=lambda: boot)
    store.put(b"a", b"1")
    store.commit()
    return store


def test_a_store_that_was_open_when_the_machine_went_down_begins_empty(
    tmp_path: Path, killed: Callable[[DiskStore], None]
) -> None:
    killed(written(tmp_path, "monday"))
    said: list[str] = []
    store = DiskStore(tmp_path, said.append, boot=lambda: "tuesday")
    assert store.get(b"a") is None
    assert said == [f"local store {tmp_path} was open when the machine went down: it is rebuilt from the topics"]
    store.close()


def test_a_store_outlives_its_process_and_if_closed_the_machine(
    tmp_path: Path, killed: Callable[[DiskStore], None]
) -> None:
    killed(written(tmp_path, "monday"))
    said: list[str] = []
    store = DiskStore(tmp_path, said.append, boot=lambda: "monday")
    assert store.get(b"a") == b"1"
    store.close()
    store = DiskStore(tmp_path, said.append, boot=lambda: "tuesday")
    assert store.get(b"a") == b"1"
    store.close()
    assert said == []


@pytest.fixture
def killed() -> Callable[[DiskStore], None]:
    """Return what ends a store as the end of its process does: nothing is synced, nothing is marked."""

    def kill(store: DiskStore) -> None:
        store._env.close()

    return kill


@pytest.mark.parametrize("code", ["ENOSPC", "EROFS", "EDQUOT"])
def test_a_disk_that_can_be_mended_is_named_with_the_way_out_and_the_store_goes_on(tmp_path: Path, code: str) -> None:
    folder = tmp_path / "joiner-0"
    store = DiskStore(folder)
    store.put(b"a", b"1")
    store.commit()
    failpoints.arm({failpoints.VARIABLE: f"local-store.commit.before={code}@1"})
    try:
        store.put(b"b", b"2")
        with pytest.raises(LocalStoreError) as failed:
            store.commit()
    finally:
        failpoints.arm({})
    said = os.strerror(getattr(errno, code))
    assert str(failed.value).startswith(f"local store {folder}: {said}; free space on that disk, or make it writable")
    assert failed.value.passes
    store.close()
    again = DiskStore(folder)
    assert (again.get(b"a"), again.get(b"b")) == (b"1", None)
    again.close()


def test_a_folder_that_cannot_be_made_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LocalStoreError, match=r"local store .*/file/joiner-0: Not a directory") as failed:
        DiskStore(tmp_path / "file" / "joiner-0")
    assert not failed.value.passes


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system allocates no blocks ahead")
def test_the_file_of_locks_has_no_hole_that_a_full_disk_could_not_fill(tmp_path: Path) -> None:
    folder = tmp_path / "joiner-0"
    folder.mkdir()
    with (folder / "lock.mdb").open("wb") as file:
        file.truncate(8192)
    DiskStore(folder).close()
    held = (folder / "lock.mdb").stat()
    assert held.st_size == 8192
    assert held.st_blocks * 512 >= 8192


# --- levels ----------------------------------------------------------------------------------------


def ids(count: int, seed: int) -> list[bytes]:
    """Return keys of states in random order."""
    rng = random.Random(seed)
    return [b"e\0\0" + rng.randbytes(16) for _ in range(count)]


def pages(folder: Path) -> list[bytes]:
    data = (folder / "data.mdb").read_bytes()
    return [data[at : at + 4096] for at in range(0, len(data), 4096)]


def test_a_commit_of_random_ids_changes_few_pages_of_a_large_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one tree with 120,000 entries, 4,000 changes are on nearly 2,000 pages."""
    monkeypatch.setattr(store_levels, "_FRESH_MOST", 20_000)
    monkeypatch.setattr(store_levels, "_MOVED_AT_ONCE", 2_000)
    store = DiskStore(tmp_path)
    value = bytes(30)
    store.fill(sorted((key, value) for key in ids(120_000, 0)))
    store.commit()
    changed = []
    for turn in range(1, 9):
        before = pages(tmp_path)
        store.put_many(sorted((key, value) for key in ids(4_000, turn)))
        store.commit()
        after = pages(tmp_path)
        changed.append(sum(one != other for one, other in zip(before, after, strict=False)) + len(after) - len(before))
    assert store._levels.fresh(store._txn) <= 20_000
    store.close()
    assert max(changed) < 1_200


_WRITER = """
import random, sys
from pathlib import Path
from consumers.joiner import store_levels
from consumers.joiner.local_store import DiskStore

store_levels._FRESH_MOST, store_levels._MOVED_AT_ONCE = 500, 50
store = DiskStore(Path(sys.argv[1]), say=lambda line: print(line, flush=True))
rng = random.Random(sys.argv[2])
turn = int(store.get(b"o") or b"0")
while True:
    turn += 1
    for number in rng.sample(range(3000), 200):
        key = b"e%04d" % number
        if rng.random() < 0.3:
            store.delete(key)
            store.delete(b"p" + key)
        else:
            store.put_many([(key, b"%d" % turn), (b"p" + key, b"%d" % turn)])
    store.put(b"o", b"%d" % turn)
    store.commit()
    print(turn, flush=True)
"""


def test_a_process_killed_at_any_moment_leaves_both_levels_as_a_commit_did(
    tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    """Each change is made to a key with levels and to one without: after a kill both must tell the same."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng, done = random.Random(seed), 0
    for number in range(rounds(4, 60)):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), f"{seed}-{number}"], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(rng.randrange(5, 15)):
            done = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        said: list[str] = []
        store = DiskStore(tmp_path, said.append)
        assert said == []
        assert int(store.get(b"o") or b"0") >= done
        plain = {key[1:]: value for key, value in store.scan(b"p", b"")}
        assert dict(store.scan(b"e", b"")) == plain
        assert dict(store.get_many(sorted(plain))) == plain
        store.close()


@pytest.mark.parametrize("mark", ["open monday", "closed"])
def test_a_store_that_a_version_without_levels_left_goes_on(tmp_path: Path, mark: str) -> None:
    with lmdb.open(str(tmp_path), max_dbs=0) as env, env.begin(write=True) as txn:
        txn.put(b"e1", b"old")
        txn.put(b"e2", b"old")
    (tmp_path / "mark").write_text(mark)
    said: list[str] = []
    store = DiskStore(tmp_path, said.append, boot=lambda: "monday")
    store.put(b"e2", b"new")
    assert list(store.scan(b"e", b"")) == [(b"e1", b"old"), (b"e2", b"new")]
    store.close()
    assert said == []


def test_a_version_without_levels_takes_no_store_with_levels_for_its_own(
    tmp_path: Path, killed: Callable[[DiskStore], None]
) -> None:
    """It deletes a store whose mark begins with `open ` and does not name the boot, and uses any other."""
    for number, end in enumerate((DiskStore.close, killed)):
        end(written(tmp_path / str(number), "monday"))
        mark = (tmp_path / str(number) / "mark").read_text()
        assert mark.startswith("open ")
        assert mark != "open monday"
