"""Newest ids of a worker: not indexed in each turn, and remembered all the same, whoever asks or was killed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from spool_worker import Worker

from server.spool.entries import Remembered, SpooledRecord
from server.spool.errors import SpoolFailed
from server.spool.remembered import RememberedIds, Turn
from server.spool.spool import Conflict, Logged, Made, Pending, Repeated, Result, Spool, SpoolLimits

NOW = 1_700_000_000_000
SMALL = SpoolLimits(most_bytes=1 << 16)


def opened(path: Path, limits: SpoolLimits | None = None) -> Spool:
    return Spool(path, limits, lambda: NOW)


def pending(name: str, content: bytes = b"", *, final: bool = True) -> Pending:
    record = SpooledRecord("predictions", 0, name.encode(), b"value")
    made = Made((record,), f"answer {name}".encode(), final)
    return Pending(lambda number: made, name.encode().ljust(16), content.ljust(16))


def ask(spool: Spool, *names: str) -> list[Result]:
    return spool.write([pending(name) for name in names])


def repeated(name: str) -> Repeated:
    return Repeated(f"answer {name}".encode())


@contextmanager
def puts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Note the keys that are put into the index."""
    found: list[bytes] = []
    put = Turn.put

    def noting(turn: Turn, by_time: Mapping[int, Sequence[Remembered]]) -> None:
        found.extend(each.key.strip() for said in by_time.values() for each in said)
        put(turn, by_time)

    with monkeypatch.context() as patched:
        patched.setattr(Turn, "put", noting)
        yield found


def test_a_worker_alone_indexes_hundreds_at_once_and_knows_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(tmp_path)
    names = [f"id-{number:04}" for number in range(600)]
    with puts(monkeypatch) as indexed:
        for name in names[:256]:
            ask(spool, name)
        assert indexed == []
        for name in names[256:]:
            ask(spool, name)
        assert len(indexed) == 512
    assert ask(spool, *names) == [repeated(name) for name in names]
    assert spool.write([pending(names[0], b"other"), pending(names[-1], b"other")]) == [Conflict(), Conflict()]


def test_a_killed_workers_ids_are_known_to_the_next_one(tmp_path: Path) -> None:
    killed = opened(tmp_path)
    ask(killed, "a", "b")
    killed.close()  # nothing is written here that a kill would not leave
    assert ask(opened(tmp_path), "b", "c", "a") == [repeated("b"), Logged(2, b"answer c"), repeated("a")]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Worker]:
    """Another worker of the spool, a process of its own."""
    worker = Worker(tmp_path)
    yield worker
    worker.end()


def test_ids_that_were_made_here_are_not_looked_up_and_are_known_to_all(
    tmp_path: Path, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    made = [f"made-{number:04}" for number in range(600)]

    def known(number: int) -> bool:
        """Ask another worker, with the same content."""
        return other.write((made[number], made[number], "")) == [["repeated", f"answer {made[number]}"]]

    for number, name in enumerate(made):
        asked = pending(name)
        asked.is_new = True
        with monkeypatch.context() as patched:
            patched.setattr(Turn, "look_up", None)
            assert spool.write([asked]) == [Logged(number, f"answer {name}".encode())]
        assert number % 100 or known(number)
    assert all(known(number) for number in range(600))
    assert ask(spool, *made) == [repeated(name) for name in made]
    spool.close()
    assert ask(Spool(tmp_path), *made) == [repeated(name) for name in made]
    assert other.write((made[5], made[5], "other")) == [["conflict"]]


def test_two_workers_know_each_others_ids_and_then_index_in_each_turn(
    tmp_path: Path, other: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    for number in range(40):
        ours, theirs = f"ours-{number}", f"theirs-{number}"
        ask(spool, ours)
        found = other.write((ours, ours, ""), (theirs, theirs, ""))
        assert found == [["repeated", f"answer {ours}"], ["logged", f"{theirs}@{number}"]]
        assert ask(spool, ours, theirs) == [repeated(ours), Repeated(f"{theirs}@{number}".encode())]
    with puts(monkeypatch) as indexed:
        ask(spool, "last")
        assert indexed == [b"last"]


def test_an_error_answer_is_replaced_before_and_after_it_is_indexed(tmp_path: Path, other: Worker) -> None:
    spool = Spool(tmp_path)
    spool.write([pending("a", final=False)])
    assert spool.write([pending("a", b"corrected")]) == [Logged(1, b"answer a")]
    assert other.write(("a", "a", "corrected"), ("a", "a", "else")) == [["repeated", "answer a"], ["conflict"]]
    assert spool.write([pending("a", b"corrected")]) == [repeated("a")]


def test_ids_of_a_segment_are_indexed_before_the_next_begins_so_that_it_can_be_deleted(tmp_path: Path) -> None:
    spool = opened(tmp_path, SMALL)
    names = [f"id-{number:04}" for number in range(100)]
    for name in names:
        ask(spool, name)
    lane = spool.folder.lane(0)
    first, *_, last = lane.segments()
    assert 0 < last < 100
    for each in lane.segments()[:-1]:
        lane.file(each).unlink()
    spool.close()
    assert ask(opened(tmp_path, SMALL), *names) == [repeated(name) for name in names]
    assert first == 0


def test_while_the_index_cannot_be_written_nothing_is_taken_and_no_id_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(tmp_path)
    names = [f"id-{number:04}" for number in range(256)]
    ask(spool, *names)

    def fails(*given: object) -> None:
        raise SpoolFailed("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(RememberedIds, "forget", fails)
        [failure] = ask(spool, "new")
        assert isinstance(failure, SpoolFailed)
    assert ask(spool, *names, "new") == [*(repeated(name) for name in names), Logged(256, b"answer new")]


def test_all_ids_of_one_time_are_forgotten_together_and_one_that_was_answered_again_is_not(tmp_path: Path) -> None:
    now = [NOW]
    spool = Spool(tmp_path, SpoolLimits(remember_ms=1000), lambda: now[0])
    names = [f"id-{number:04}" for number in range(300)]
    ask(spool, *names)
    spool.write([pending("again", final=False)])  # by now the index has the others
    now[0] += 500
    spool.write([pending("again", b"corrected")])
    ask(spool, *(f"later-{number}" for number in range(300)))
    now[0] += 501
    assert ask(spool, "again", *(f"later-{number}" for number in range(300)))[0] == Conflict()
    with RememberedIds.locked(spool._ids) as turn:
        left = {name for name in names if turn.look_up(name.encode().ljust(16), 0)}
    assert left == set()


def test_what_is_too_old_is_forgotten_before_and_after_it_is_indexed(tmp_path: Path) -> None:
    now = [NOW]
    spool = Spool(tmp_path, SpoolLimits(remember_ms=1000), lambda: now[0])
    ask(spool, "a")
    now[0] += 1000
    assert ask(spool, "a") == [repeated("a")]
    now[0] += 1
    assert ask(spool, "a") == [Logged(1, b"answer a")]
