"""The spool: what was written is read, whatever a crash left of the last write, and what is damaged is named."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spool_worker import Worker

from runtime import failpoints
from server.spool.entries import Entry, SpooledRecord
from server.spool.errors import SpoolDamaged, SpoolFailed, SpoolFull
from server.spool.folder import SpoolFolder
from server.spool.segments import LaneReader
from server.spool.spool import Logged, Made, Pending, Repeated, Result, Spool, SpoolLimits

NOW = 1_700_000_000_000


def record(text: bytes) -> SpooledRecord:
    return SpooledRecord("predictions", 0, text, b"value of " + text, (("name", b"of a header"),))


def pending(text: bytes, key: bytes | None = None, content: bytes = b"") -> Pending:
    """Return what is to be logged as one record; its answer names its sequence number."""
    return Pending(lambda number: Made((record(text),), b"%d" % number), key and key.ljust(16), content.ljust(16))


def opened(path: Path, limits: SpoolLimits | None = None) -> Spool:
    return Spool(path, limits, lambda: NOW)


def keys(entries: Sequence[Entry]) -> list[bytes | None]:
    return [each.key for entry in entries for each in entry.records]


def everything(spool: Spool, lane: int = 0, begin: int = 0) -> list[bytes | None]:
    reader = LaneReader(spool.folder.lane(lane), begin)
    found: list[Entry] = []
    while more := reader.read(1 << 12):
        found += more
    return keys(found)


def write(spool: Spool, *texts: bytes) -> list[Result]:
    return spool.write([pending(text) for text in texts])


def last_segment(spool: Spool, lane: int = 0) -> Path:
    folder = spool.folder.lane(lane)
    return folder.file(folder.segments()[-1])


# --- what is written is read ---------------------------------------------------------------------------


def test_entries_are_numbered_without_gaps_and_read_in_order_while_they_are_written(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    reader = LaneReader(spool.folder.lane(0), 0)
    assert reader.read(1 << 20) == []
    assert write(spool, b"a", b"b") == [Logged(0, b"0"), Logged(1, b"1")]
    [first, second] = reader.read(1 << 20)
    assert first.records == (record(b"a"),)
    assert second.at_ms == NOW
    assert write(spool, b"c") == [Logged(2, b"2")]
    assert keys(reader.read(1 << 20)) == [b"c"]
    assert reader.next == 3
    assert reader.read(1 << 20) == []


def test_a_spool_that_is_opened_again_goes_on_and_another_spool_is_told_from_it(tmp_path: Path) -> None:
    spool = opened(tmp_path / "one")
    write(spool, b"a")
    spool.close()
    again = opened(tmp_path / "one")
    assert again.folder.id == spool.folder.id
    assert write(again, b"b") == [Logged(1, b"1")]
    assert everything(again) == [b"a", b"b"]
    assert opened(tmp_path / "two").folder.id != spool.folder.id


def test_a_new_segment_begins_at_the_size_limit_and_readers_pass_over(tmp_path: Path) -> None:
    spool = opened(tmp_path, SpoolLimits(most_bytes=1 << 16))
    texts = [b"%d" % number for number in range(300)]
    for text in texts:
        write(spool, text)
    assert len(spool.folder.lane(0).segments()) > 2
    assert everything(spool) == texts
    assert everything(spool, begin=123) == texts[123:]


def test_an_entry_larger_than_a_read_is_read(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    large = b"x" * 100_000
    write(spool, b"a", large, b"b")
    assert everything(spool) == [b"a", large, b"b"]


def test_each_worker_has_its_own_lane_and_a_free_one_is_taken_again(tmp_path: Path) -> None:
    first, second = Worker(tmp_path), Worker(tmp_path)
    assert (first.lane, second.lane) == (0, 1)
    assert first.write(("a", None, "")) == [["logged", "a@0"]]
    assert second.write(("b", None, "")) == [["logged", "b@0"]]
    first.end()
    third = opened(tmp_path)
    assert third.lane == 0
    write(third, b"c")
    assert (everything(third, 0), everything(third, 1)) == ([b"a", b"c"], [b"b"])
    second.end()


# --- crashes -------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8), st.data())
def test_whatever_a_crash_left_of_the_last_write_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("spool")
    spool = opened(path)
    write(spool, b"before")
    kept = last_segment(spool).stat().st_size
    write(spool, *texts)
    file = last_segment(spool)
    size = data.draw(st.integers(kept, file.stat().st_size))
    spool.close()
    os.truncate(file, size)
    again = opened(path)
    found = everything(again)
    assert found == [b"before", *texts][: len(found)], size
    assert file.stat().st_size <= size, "only complete entries are kept"
    assert write(again, b"after") == [Logged(len(found), b"%d" % len(found))]
    assert everything(again) == [*found, b"after"]
    again.close()


def test_zeros_that_a_power_failure_left_at_the_end_are_cut_off(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    write(spool, b"a", b"b")
    file = last_segment(spool)
    spool.close()
    with file.open("r+b") as opened_file:
        opened_file.seek(-7, os.SEEK_END)
        opened_file.write(bytes(7))
        opened_file.write(bytes(4096))
    again = opened(tmp_path)
    assert write(again, b"c") == [Logged(1, b"1")]
    assert everything(again) == [b"a", b"c"]


@settings(max_examples=40)
@given(st.data())
def test_damage_before_an_intact_entry_stops_with_the_place_and_the_way_out(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("spool")
    spool = opened(path)
    write(spool, b"a", b"b")
    begin = last_segment(spool).stat().st_size
    write(spool, b"c")
    end = last_segment(spool).stat().st_size
    write(spool, b"d")
    file = last_segment(spool)
    spool.close()
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(begin, end - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    # A fresh index, so that the whole lane is read.
    (path / "index" / "boot").write_text("another start of the machine")
    with pytest.raises(SpoolDamaged, match=f"truncate -s {begin} {file}"):
        opened(path)
    reader = LaneReader(spool.folder.lane(0), 0)
    assert keys(reader.read(1 << 20)) == [b"a", b"b"]
    with pytest.raises(SpoolDamaged, match=f"damaged at byte {begin}"):
        reader.read(1 << 20)
    os.truncate(file, begin)  # the way out
    again = opened(path)
    assert write(again, b"e") == [Logged(2, b"2")]
    assert everything(again) == [b"a", b"b", b"e"]
    again.close()


def test_a_lane_cut_before_what_is_on_kafka_goes_on_after_it(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    write(spool, b"a", b"b", b"c")
    spool.folder.note({0: 3}, {0: 3}, NOW)
    file = last_segment(spool)
    spool.close()
    os.truncate(file, len(spool.folder.lane(0).header(0)))
    again = opened(tmp_path)
    assert write(again, b"d") == [Logged(3, b"3")], "number 0 to 2 are on Kafka already"
    assert everything(again, begin=3) == [b"d"]


def test_a_reader_is_told_of_an_older_copy_and_of_missing_segments(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    write(spool, b"a")
    with pytest.raises(SpoolDamaged, match="older copy"):
        LaneReader(spool.folder.lane(0), 5).read(1 << 20)
    lane = spool.folder.lane(0)
    lane.file(0).rename(lane.file(4))
    with pytest.raises(SpoolDamaged, match="begins with entry 4, and entry 0 is next"):
        LaneReader(lane, 0).read(1 << 20)


def test_a_file_of_another_spool_or_version_is_refused(tmp_path: Path) -> None:
    spool = opened(tmp_path / "one")
    write(spool, b"a")
    other = opened(tmp_path / "two")
    last_segment(other).write_bytes(last_segment(spool).read_bytes())
    with pytest.raises(SpoolDamaged, match="another version or another spool wrote it"):
        LaneReader(other.folder.lane(0), 0).read(1 << 20)
    (tmp_path / "one" / "spool.json").write_text('{"format": 2, "id": "x"}')
    spool.close()
    with pytest.raises(SpoolDamaged, match="format 2"):
        opened(tmp_path / "one")


# --- full, and failing ---------------------------------------------------------------------------------


def test_a_full_spool_takes_nothing_until_segments_are_deleted(tmp_path: Path) -> None:
    spool = opened(tmp_path, SpoolLimits(most_bytes=1 << 14))
    taken = 0
    while isinstance(write(spool, b"x" * 500)[0], Logged):
        taken += 1
    assert spool.folder.size() <= 1 << 14
    assert isinstance(write(spool, b"x" * 500)[0], SpoolFull)
    lane = spool.folder.lane(0)
    for first in lane.segments()[:-1]:
        lane.file(first).unlink()
    spool._looked_at = 0.0  # the size is looked at again after 0.2 s
    assert write(spool, b"after") == [Logged(taken, b"%d" % taken)]


@pytest.mark.parametrize(
    "place", ["spool.write.before", "spool.write.after", "spool.rotate.before", "spool.rotate.after"]
)
def test_a_disk_that_fails_refuses_and_the_spool_goes_on_when_it_is_well(
    tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    spool = opened(tmp_path, SpoolLimits(most_bytes=1 << 15))
    request.addfinalizer(lambda: failpoints.arm({}))
    failpoints.arm({failpoints.VARIABLE: f"{place}=ENOSPC@2-3"})
    results = [write(spool, b"%d" % number + b"x" * 300)[0] for number in range(30)]
    assert sum(isinstance(each, SpoolFailed) for each in results) == 2
    found = everything(spool)
    logged = [b"%d" % at + b"x" * 300 for at, each in enumerate(results) if isinstance(each, Logged)]
    assert [each for each in found if each in logged] == logged
    assert len(found) == len({*found}), "nothing is there twice"
    assert [each.sequence for each in results if isinstance(each, Logged)][-1] == len(found) - 1


def _end_between_two_segments(spool: Spool) -> list[bytes]:
    """Log until a new segment has begun and the turn that began it fails, as if it were killed; return what was."""
    failpoints.arm({failpoints.VARIABLE: "spool.rotate.after=ENOSPC@1"})
    logged = []
    while isinstance(spool.write([pending(text := b"%d" % len(logged) + b"x" * 300, text[:16])])[0], Logged):
        logged.append(text)
    failpoints.arm({})
    spool.close()
    return logged


def _forward(path: Path) -> None:
    """Delete the segments that a forwarder deletes, once all is on Kafka."""
    lane = SpoolFolder(path).lane(0)
    for first in lane.segments()[:-1]:
        lane.file(first).unlink()


def test_what_was_answered_is_remembered_where_a_kill_comes_between_two_segments(tmp_path: Path) -> None:
    """The forwarder deletes the segment before the newest, whose last entries are then nowhere but in the index."""
    logged = _end_between_two_segments(opened(tmp_path, SpoolLimits(most_bytes=1 << 15)))
    _forward(tmp_path)
    spool = opened(tmp_path)
    results = spool.write([pending(text, text[:16]) for text in logged])
    assert results == [Repeated(b"%d" % number) for number in range(len(logged))]


def test_what_was_answered_is_remembered_where_a_kill_comes_as_the_spool_is_opened(tmp_path: Path) -> None:
    """Opening begins a segment where the lane ends before the place that is on Kafka: it was cut."""
    spool = opened(tmp_path)
    assert spool.write([pending(b"a", b"a")]) == [Logged(0, b"0")]
    spool.close()
    SpoolFolder(tmp_path).note({}, {0: 5}, NOW)
    failpoints.arm({failpoints.VARIABLE: "spool.rotate.after=ENOSPC@1"})
    with pytest.raises(SpoolFailed):
        opened(tmp_path)
    failpoints.arm({})
    _forward(tmp_path)
    assert opened(tmp_path).write([pending(b"a", b"a")]) == [Repeated(b"0")]


def test_a_partial_write_keeps_only_its_complete_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path)
    write(spool, b"a")
    whole = os.write
    calls = 0

    def full_disk(file: int, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            return whole(file, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full_disk)
    results = write(spool, b"b", b"c", b"d")
    assert all(isinstance(each, SpoolFailed) for each in results)
    monkeypatch.setattr(os, "write", whole)
    assert write(spool, b"e") == [Logged(2, b"2")]
    assert everything(spool) == [b"a", b"b", b"e"], "a reader may have seen the complete one"


def test_a_failed_sync_begins_a_new_segment(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    spool = opened(tmp_path, SpoolLimits(sync="disk"))
    request.addfinalizer(lambda: failpoints.arm({}))
    failpoints.arm({failpoints.VARIABLE: "spool.fsync.before=EIO@1"})
    assert isinstance(write(spool, b"a")[0], SpoolFailed)
    assert write(spool, b"b") == [Logged(1, b"1")]
    assert spool.folder.lane(0).segments() == [0, 1]


def test_only_the_owner_reads_what_was_asked(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    write(spool, b"a")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name, mode in modes.items() if mode & 0o077} <= {"boot"}
