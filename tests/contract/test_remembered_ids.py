"""Remembered ids: the same id gets the very same answer, across workers, crashes and restarts, and is logged once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from spool_worker import Worker

from runtime.failpoints import PLACES
from server.spool.entries import Entry, SpooledRecord
from server.spool.segments import LaneReader
from server.spool.spool import Conflict, Logged, Made, Pending, Repeated, Result, Spool, SpoolLimits

NOW = 1_700_000_000_000
Start = Callable[..., Worker]


def pending(text: str, key: str | None, content: str = "", *, final: bool = True) -> Pending:
    return Pending(
        lambda number: Made(
            (SpooledRecord("predictions", 0, text.encode(), None),), f"{text}@{number}".encode(), final
        ),
        None if key is None else key.encode().ljust(16),
        content.encode().ljust(16),
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as ended:

        def begin(failpoints: str = "") -> Worker:
            worker = Worker(tmp_path, failpoints)
            ended.callback(worker.end)
            return worker

        yield begin


def logged(path: Path) -> list[str]:
    """Return the keys of all entries of all lanes."""
    spool = Spool(path)
    found: list[Entry] = []
    for lane in spool.folder.lanes():
        reader = LaneReader(lane, 0)
        while more := reader.read(1 << 20):
            found += more
    spool.close()
    return sorted((each.key or b"").decode() for entry in found for each in entry.records)


def one(spool: Spool, asked: Pending) -> Result:
    [result] = spool.write([asked])
    return result


def test_the_same_id_gets_the_same_answer_and_is_logged_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert one(spool, pending("a", "id", "x")) == Logged(0, b"a@0")
    assert one(spool, pending("b", "id", "x")) == Repeated(b"a@0")
    assert one(spool, pending("c", "id", "y")) == Conflict()
    assert one(spool, pending("d", "other", "y")) == Logged(1, b"d@1")
    spool.close()
    assert logged(tmp_path) == ["a", "d"]


def test_the_same_id_twice_in_one_turn_is_answered_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    found = spool.write([pending("a", "id", "x"), pending("b", "id", "x"), pending("c", "id", "y"), pending("d", None)])
    assert found == [Logged(0, b"a@0"), Repeated(b"a@0"), Conflict(), Logged(1, b"d@1")]


def test_an_error_answer_is_repeated_and_a_corrected_request_is_answered_anew(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    assert one(spool, pending("a", "id", "x", final=False)) == Logged(0, b"a@0", final=False)
    assert one(spool, pending("b", "id", "x")) == Repeated(b"a@0", final=False)
    assert one(spool, pending("c", "id", "corrected")) == Logged(1, b"c@1")
    assert one(spool, pending("d", "id", "corrected")) == Repeated(b"c@1")
    assert one(spool, pending("e", "id", "x")) == Conflict()


def test_an_id_is_forgotten_after_its_time(tmp_path: Path) -> None:
    now = NOW
    spool = Spool(tmp_path, SpoolLimits(remember_ms=1000), lambda: now)
    one(spool, pending("a", "id"))
    now = NOW + 1000
    assert one(spool, pending("b", "id")) == Repeated(b"a@0")
    now = NOW + 1001
    assert one(spool, pending("c", "id")) == Logged(1, b"c@1")
    now = NOW + 1999
    assert one(spool, pending("d", "id")) == Repeated(b"c@1"), "it counts from the answer that stands"


def test_what_is_remembered_is_bounded_in_bytes_and_the_oldest_goes_first(tmp_path: Path) -> None:
    now = NOW
    spool = Spool(tmp_path, SpoolLimits(index_bytes=1 << 20), lambda: now)
    text = "x" * 1000
    for number in range(150):
        now += 1
        found = spool.write([pending(text, f"{number}-{each}") for each in range(20)])
        assert all(isinstance(result, Logged) for result in found)
    assert isinstance(one(spool, pending(text, "149-19")), Repeated)
    assert isinstance(one(spool, pending(text, "0-0")), Logged)


def test_two_workers_answer_an_id_once(start: Start, tmp_path: Path) -> None:
    first, second = start(), start()
    assert first.write(("a", "id", "x")) == [["logged", "a@0"]]
    assert second.write(("b", "id", "x"), ("c", "id", "y")) == [["repeated", "a@0"], ["conflict"]]
    first.end()
    assert start().write(("d", "id", "x")) == [["repeated", "a@0"]], "and after a restart"
    assert logged(tmp_path) == ["a"]


PLACES_OF_A_TURN = [place for place in PLACES if place.startswith(("spool.write", "spool.index"))]


@pytest.mark.parametrize("place", PLACES_OF_A_TURN)
def test_a_worker_killed_anywhere_leaves_an_id_that_is_logged_once(start: Start, tmp_path: Path, place: str) -> None:
    # Opening a spool locks the index twice, and each of these turns once.
    calls = 2 if place.startswith("spool.write") else 4
    doomed, other = start(f"{place}=kill@{calls}"), start()
    assert doomed.write(("a", "first", "x")) == [["logged", "a@0"]]
    assert doomed.write(("b", "id", "x")) is None
    written = place != "spool.write.before"
    again = ["repeated", "b@1"] if written else ["logged", "c@0"]
    assert other.write(("c", "id", "x")) == [again], "a worker that is there indexes what the other left"
    assert start().write(("d", "id", "x"), ("e", "first", "x")) == [["repeated", again[1]], ["repeated", "a@0"]]
    assert logged(tmp_path) == ["a", "b" if written else "c"]


def test_an_index_of_an_earlier_start_of_the_machine_is_made_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    one(spool, pending("a", "id", "x"))
    spool.close()
    index = tmp_path / "index"
    (index / "boot").write_text("another start of the machine")
    (index / "data.mdb").write_bytes(b"damaged by the power failure" * 1000)
    again = Spool(tmp_path)
    assert one(again, pending("b", "id", "x")) == Repeated(b"a@0")
