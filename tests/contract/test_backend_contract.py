"""One suite over every place that versions can be kept in."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from object_server import BUCKET, ObjectServer, object_server

from model_store import AlreadyExists, Backend, Damaged, FolderBackend, InvalidObjectName, MemoryBackend, NotFound
from model_store.object_store import ObjectBackend

LIMIT = 1 << 20
Open = Callable[[], Backend]


@pytest.fixture(scope="module")
def s3() -> Iterator[ObjectServer]:
    with object_server() as server:
        yield server


@pytest.fixture(params=["memory", "folder", "s3"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return what opens one and the same place, anew each time where a process could."""
    if request.param == "memory":
        only = MemoryBackend()
        return lambda: only
    if request.param == "s3":
        request.getfixturevalue("s3")
        url = f"s3://{BUCKET}/{uuid.uuid4().hex}/models"
        return lambda: ObjectBackend(url)
    return lambda: FolderBackend(tmp_path / "store")


@pytest.fixture
def backend(reopen: Open) -> Backend:
    return reopen()


def test_what_was_put_is_read_back_also_by_another_process(reopen: Open) -> None:
    every_byte = bytes(range(256)) * 100
    reopen().put_new("m/objects/aa", every_byte)
    reopen().put_new("m/objects/empty", b"")
    assert reopen().get("m/objects/aa", LIMIT) == every_byte
    assert reopen().get("m/objects/empty", LIMIT) == b""


@pytest.mark.parametrize("second", [b"one", b"two", b""])
def test_a_name_is_created_once_and_never_changed(backend: Backend, second: bytes) -> None:
    backend.put_new("m/versions/1.json", b"one")
    with pytest.raises(AlreadyExists, match=r"m/versions/1\.json"):
        backend.put_new("m/versions/1.json", second)
    assert backend.get("m/versions/1.json", LIMIT) == b"one"


def test_the_store_keeps_bytes_and_not_the_callers_buffer(backend: Backend) -> None:
    buffer = bytearray(b"before")
    backend.put_new("m/a", buffer)  # type: ignore[arg-type]
    buffer[:] = b"after!"
    assert backend.get("m/a", LIMIT) == b"before"


def test_a_name_that_is_not_there_is_not_found(backend: Backend) -> None:
    with pytest.raises(NotFound, match="m/none"):
        backend.get("m/none", LIMIT)
    backend.put_new("m/here", b"")
    with pytest.raises(NotFound):
        backend.get("m/here/below", LIMIT)


def test_nothing_larger_than_the_limit_is_read(backend: Backend) -> None:
    backend.put_new("m/big", bytes(1000))
    assert len(backend.get("m/big", 1000)) == 1000
    with pytest.raises(Damaged, match="1000 bytes; at most 999"):
        backend.get("m/big", 999)


def test_names_are_those_below_a_folder_and_sorted(backend: Backend) -> None:
    for name in ("m/versions/2.json", "m/versions/1.json", "m/versions/sub/3.json", "m/versionsx/4", "n/versions/5"):
        backend.put_new(name, b"")
    assert backend.names("m/versions") == ["m/versions/1.json", "m/versions/2.json", "m/versions/sub/3.json"]
    assert backend.names("m/versions/sub") == ["m/versions/sub/3.json"]
    assert backend.names("m/ver") == []
    assert backend.names("nobody") == []
    assert backend.names("m/versions/1") == []
    assert backend.names("m/versionsx/4") == []


def test_a_deleted_name_is_gone_and_free_again(backend: Backend) -> None:
    backend.put_new("m/a", b"1")
    backend.delete("m/a")
    backend.delete("m/a")
    backend.delete("never/was/there")
    assert backend.names("m") == []
    with pytest.raises(NotFound):
        backend.get("m/a", LIMIT)
    backend.put_new("m/a", b"2")
    assert backend.get("m/a", LIMIT) == b"2"


@pytest.mark.parametrize("size", [0, 5, 8 << 20, (8 << 20) + 1, 20_000_000])
def test_a_file_is_put_whole_and_fetched_in_pieces(reopen: Open, tmp_path: Path, size: int) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(size))
    reopen().put_file("m/objects/aa", file)
    pieces: list[bytes] = []
    reopen().fetch("m/objects/aa", 1 << 30, pieces.append)
    assert b"".join(pieces) == file.read_bytes() == reopen().get("m/objects/aa", 1 << 30)
    assert max(map(len, pieces), default=0) <= 8 << 20
    with pytest.raises(AlreadyExists):
        reopen().put_file("m/objects/aa", file)


def test_no_piece_of_what_is_larger_than_the_limit_is_handed_over(backend: Backend) -> None:
    backend.put_new("m/big", bytes(1000))
    pieces: list[bytes] = []
    with pytest.raises(Damaged, match="1000 bytes; at most 999"):
        backend.fetch("m/big", 999, pieces.append)
    with pytest.raises(NotFound, match="m/none"):
        backend.fetch("m/none", 999, pieces.append)
    assert pieces == []


BAD_NAMES = [
    "", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", "a/./b", ".a", ".tmp/a", "a/b.json/c", "A",
    "a b", "a\\b", "a\0b", "a\n", "a\r\nb", "ä", "a:b", "a%2fb", "~", "a~", "$(a)", "a" * 301, "a/" * 200 + "a", "a_b",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_only_plain_names_are_taken(backend: Backend, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: backend.put_new(name, b""),
        lambda: backend.get(name, LIMIT),
        lambda: backend.fetch(name, LIMIT, lambda piece: None),
        lambda: backend.names(name),
        lambda: backend.delete(name),
    ]
    for call in calls:
        with pytest.raises(InvalidObjectName, match="is no name of anything in a model store"):
            call()


def test_of_many_writers_at_once_one_wins_and_the_rest_know(backend: Backend) -> None:
    for round_number in range(20):
        won, lost = race(backend, f"m/versions/{round_number}.json", 6)
        assert len(won) == 1
        assert len(lost) == 5
        assert backend.get(f"m/versions/{round_number}.json", LIMIT) == won[0]


def race(backend: Backend, name: str, writers: int) -> tuple[list[bytes], list[bytes]]:
    won: list[bytes] = []
    lost: list[bytes] = []
    start = threading.Barrier(writers)

    def write(data: bytes) -> None:
        start.wait()
        try:
            backend.put_new(name, data)
        except AlreadyExists:
            lost.append(data)
        else:
            won.append(data)

    threads = [threading.Thread(target=write, args=(bytes([number]) * 5000,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return won, lost


def test_a_reader_never_sees_half_a_blob(backend: Backend) -> None:
    data = os.urandom(300_000)
    halves: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            halves.extend(len(got) for name in backend.names("m") if (got := backend.get(name, LIMIT)) != data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(30):
            backend.put_new(f"m/{number}", data)
    finally:
        done.set()
        reader.join()
    assert halves == []


# --- what only a folder can go through ---------------------------------------------------------------


def write_for_ever(root: Path, number: int) -> None:
    backend, data = FolderBackend(root), bytes([number]) * 200_000
    count = 0
    while True:
        backend.put_new(f"m{number}/{count}", data)
        count += 1


def scratch_files(root: Path) -> list[Path]:
    return sorted((root / ".tmp").iterdir())


def make_old(file: Path) -> None:
    hours_ago = file.stat().st_mtime - 2 * 3600
    os.utime(file, (hours_ago, hours_ago))


def test_what_a_killed_writer_left_is_never_visible(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    for number in range(12):
        writer = fork.Process(target=write_for_ever, args=(tmp_path, number))
        writer.start()
        assert writer.pid is not None
        while not FolderBackend(tmp_path).names(f"m{number}"):
            assert writer.is_alive()
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        backend = FolderBackend(tmp_path)
        for name in backend.names(f"m{number}"):
            assert backend.get(name, LIMIT) == bytes([number]) * 200_000


def test_what_a_crash_left_an_hour_ago_is_swept_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    FolderBackend(tmp_path).put_new("m/a", b"1")
    assert scratch_files(tmp_path) == []
    old, new = tmp_path / ".tmp" / "old", tmp_path / ".tmp" / "new"
    for file in (old, new):
        file.write_bytes(b"half")
    make_old(old)
    backend = FolderBackend(tmp_path)
    assert scratch_files(tmp_path) == [new]
    assert backend.names("m") == ["m/a"]


def test_one_leftover_that_cannot_be_removed_keeps_no_other(tmp_path: Path) -> None:
    FolderBackend(tmp_path).put_new("m/a", b"1")
    names = "abcdef"
    for name in names:
        (tmp_path / ".tmp" / name).write_bytes(b"half")
    (tmp_path / ".tmp" / "folder").mkdir()
    for file in scratch_files(tmp_path):
        make_old(file)
    FolderBackend(tmp_path)
    assert scratch_files(tmp_path) == [tmp_path / ".tmp" / "folder"]


def test_a_model_can_have_any_name_that_a_model_may_have(tmp_path: Path) -> None:
    for model in ("tmp", "versions", "objects", "pins"):
        FolderBackend(tmp_path).put_new(f"{model}/versions/1.json", b"1")
        FolderBackend(tmp_path)
        assert FolderBackend(tmp_path).get(f"{model}/versions/1.json", LIMIT) == b"1"


def test_files_that_others_put_into_the_folder_are_no_names(tmp_path: Path) -> None:
    backend = FolderBackend(tmp_path)
    backend.put_new("m/versions/1.json", b"1")
    for junk in (".DS_Store", "1.json~", "A.json", "x y", ".1.json.swp"):
        (tmp_path / "m" / "versions" / junk).write_bytes(b"")
    assert backend.names("m") == ["m/versions/1.json"]


def test_what_is_no_file_is_damage_and_does_not_hang(tmp_path: Path) -> None:
    backend = FolderBackend(tmp_path)
    (tmp_path / "m" / "folder").mkdir(parents=True)
    os.mkfifo(tmp_path / "m" / "pipe")
    for name in ("m/folder", "m/pipe"):
        with pytest.raises(Damaged, match="is no file"):
            backend.get(name, LIMIT)
