"""A process that is killed with -9 in the midst of a snapshot: what is there is whole, and the next one is made."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec

from consumers.joiner.join import JoinState
from consumers.joiner.local_store import DiskStore, MemoryStore
from consumers.joiner.offset_metadata import JoinerMetadata, LocalPlace, meta_key
from consumers.joiner.snapshots import Snapshots, StoreSnapshot
from model_store import FolderBackend

_WRITER = """
import sys
from pathlib import Path
from consumers.joiner import snapshots
from consumers.joiner.local_store import DiskStore
from model_store import FolderBackend

snapshots._RAW_BYTES = 20_000
store = DiskStore(Path(sys.argv[1]), say=lambda line: None)
made = snapshots.Snapshots(FolderBackend(Path(sys.argv[2])), "s")
print("ready", flush=True)
while True:
    with store.view() as view:
        made.write(view, 0, 1, lambda: None)
    print("made", flush=True)
"""
ENTRIES = 2000


def fill(folder: Path) -> None:
    """Make a local store in which predictions wait."""
    store = DiskStore(folder)
    place = b"\0\0"
    for number in range(ENTRIES):
        queued = (7).to_bytes(8, "big") + (5).to_bytes(2, "big") + b"e\0\0%02d" % (number % 100) + bytes(100)
        store.put(b"p" + place + number.to_bytes(8, "big"), queued)
    local = LocalPlace("g", "e", (ENTRIES, 0), JoinState(waiting_predictions=ENTRIES), JoinerMetadata(0, "e", "i", {}))
    store.put(meta_key(0), msgspec.msgpack.encode(local))
    store.commit()
    store.close()


def loads(snapshots: Snapshots) -> int:
    """Return how many snapshots there are, each loaded and counted."""
    found = list(snapshots.newest_first(0))
    for each in found:
        assert isinstance(each, StoreSnapshot), each
        store = MemoryStore()
        snapshots.load(each, store, lambda: None)
        assert sum(1 for _ in store.scan(b"p", b"")) == ENTRIES
    return len(found)


def test_kills_in_the_midst_of_a_snapshot_leave_whole_ones_and_no_rubbish(
    tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    fill(tmp_path / "local")
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng, torn = random.Random(seed), 0
    snapshots = Snapshots(FolderBackend(tmp_path / "models"), "s")
    for _ in range(rounds(5, 100)):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path / "local"), str(tmp_path / "models")], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(rng.randrange(1, 4)):
            assert writer.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))  # a fault at a random moment: nothing is awaited
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        names = FolderBackend(tmp_path / "models").names("s/joiner/0")
        torn += len({name.split("/")[3].removesuffix(".json") for name in names}) > loads(snapshots)
    assert torn  # else none was killed in the midst of one
    store = DiskStore(tmp_path / "local")
    for now in (1, 1, 1):
        with store.view() as view:
            assert snapshots.write(view, 0, now, lambda: None) is not None
    store.close()
    assert loads(snapshots) == 2
    ids = {name.split("/")[3].removesuffix(".json") for name in FolderBackend(tmp_path / "models").names("s/joiner/0")}
    assert len(ids) == 2  # what the killed ones left is gone


def test_a_snapshot_holds_one_object_in_memory_not_many_small_ones(tmp_path: Path) -> None:
    fill(tmp_path / "local")
    store = DiskStore(tmp_path / "local")
    store.fill([(b"e\0\0%015d" % number, bytes(20)) for number in range(150_000)])
    store.commit()
    snapshots = Snapshots(FolderBackend(tmp_path / "models"), "s")
    tracemalloc.start()
    try:
        with store.view() as view:
            made = snapshots.write(view, 0, 1, lambda: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    store.close()
    assert made is not None
    assert made.entries == 150_000 + ENTRIES
    assert peak < 3 * (4 << 20)
