"""What an answer has survived when it is sent, and answers that are in no log."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from unit.http_site import Make, Site, make

from runtime import failpoints
from server.spool.entries import SpooledRecord
from server.spool.errors import NotCommitted, SpoolFailed
from server.spool.spool import Logged, Made, Pending, Repeated, Result, Spool, SpoolLimits, Unlogged
from server.spool.turns import Turns

__all__ = ["make"]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with closing(Spool(tmp_path)) as opened:
        yield opened


def pending(key: bytes = b"", *, may_be_unlogged: bool = False) -> Pending:
    made = Made((SpooledRecord("labels", 0, b"a", b"b"),), b'{"n":1}')
    return Pending(lambda sequence: made, key.ljust(16) if key else None, b"c" * 16, may_be_unlogged)


def disk_fails(places: str, request: pytest.FixtureRequest) -> None:
    failpoints.arm({failpoints.VARIABLE: places})
    request.addfinalizer(lambda: failpoints.arm({}))


# --- sync kafka ----------------------------------------------------------------------------------------


def test_with_sync_kafka_the_answer_comes_after_the_commit_also_a_repeated_one(spool: Spool) -> None:
    async def asked() -> list[Result]:
        turns = Turns(spool, "kafka")
        first = asyncio.create_task(turns.log([pending(b"id")]))
        await asyncio.sleep(0)
        spool.folder.note({0: 1}, {0: 0}, 0)
        again = asyncio.create_task(turns.log([pending(b"id")]))
        _, unanswered = await asyncio.wait({first, again}, timeout=0.1)
        assert unanswered == {first, again}, "it is in the spool, and not on Kafka"
        spool.folder.note({0: 1}, {0: 1}, 0)
        return [*await first, *await again]

    first, again = asyncio.run(asked())
    assert isinstance(first, Logged)
    assert isinstance(again, Repeated)


def test_with_sync_kafka_a_commit_that_does_not_come_is_said_in_time(spool: Spool) -> None:
    async def asked() -> list[Result]:
        return await Turns(spool, "kafka", unlogged=True, commit_s=0.05).log([pending(may_be_unlogged=True)])

    [late] = asyncio.run(asked())
    assert isinstance(late, NotCommitted)
    assert "send it again with the same id" in str(late)


# --- sync disk -----------------------------------------------------------------------------------------


def test_with_sync_disk_the_entries_are_synced_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, write = os.fsync, os.write
    monkeypatch.setattr(
        os, "write", lambda file, data: done.append(f"write {os.fstat(file).st_ino}") or write(file, data)
    )
    monkeypatch.setattr(os, "fsync", lambda file: done.append(f"sync {os.fstat(file).st_ino}") or sync(file))

    async def asked(spool: Spool) -> None:
        turns = Turns(spool, "disk")
        done.clear()
        await turns.log([pending()])
        done.append("answered")
        turns.close()

    with closing(Spool(tmp_path, SpoolLimits(sync="disk"))) as spool:
        asyncio.run(asked(spool))
        [segment] = (tmp_path / "lanes" / "0").glob("*.segment")
        inode = segment.stat().st_ino
        assert [each for each in done if str(inode) in each or each == "answered"] == [
            f"write {inode}",
            f"sync {inode}",
            "answered",
        ]


def test_with_sync_disk_a_failed_sync_is_no_answer(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    disk_fails("spool.fsync.before=EIO@1", request)

    async def asked(spool: Spool) -> list[Result]:
        turns = Turns(spool, "disk")
        results = [*await turns.log([pending()]), *await turns.log([pending()])]
        turns.close()
        return results

    with closing(Spool(tmp_path, SpoolLimits(sync="disk"))) as spool:
        failed, logged = asyncio.run(asked(spool))
    assert isinstance(failed, SpoolFailed)
    assert isinstance(logged, Logged)


# --- unlogged ------------------------------------------------------------------------------------------


def test_unlogged_is_only_what_may_be_and_only_if_the_server_is_told_so(
    spool: Spool, request: pytest.FixtureRequest
) -> None:
    disk_fails("spool.write.before=ENOSPC", request)

    async def asked(*, unlogged: bool) -> tuple[list[Result], int]:
        turns = Turns(spool, "process", unlogged=unlogged)
        return await turns.log([pending(may_be_unlogged=True), pending()]), turns.unlogged

    (answer, label), count = asyncio.run(asked(unlogged=True))
    assert answer == Unlogged(b'{"n":1}')
    assert isinstance(label, SpoolFailed)
    assert count == 1
    results, count = asyncio.run(asked(unlogged=False))
    assert all(isinstance(each, SpoolFailed) for each in results)
    assert count == 0


def test_an_unlogged_answer_is_marked_and_labels_are_refused(make: Make, request: pytest.FixtureRequest) -> None:
    site: Site = make()
    site.unlogged = True
    event: dict[str, Any] = {"event_id": "a", "features": {"x": 1, "y": 2}}
    before = site.one(event)
    assert "x-logged" not in before.headers
    disk_fails("spool.write.before=EIO", request)
    said = site.one({**event, "event_id": "b"})
    assert (said.status, said.headers["x-logged"], said.json["prediction"]) == (200, "false", 2.0)
    assert said.json["logged"] is False
    refused = site.one({"event_id": "c", "features": {"x": 99, "y": 2}})
    assert (refused.status, refused.code, refused.headers["x-logged"]) == (422, "range", "false")
    many = site.one({"events": [event, {**event, "event_id": "d"}]})
    assert many.headers["x-logged"] == "false"
    assert many.json["answers"] == [
        {**before.json, "repeated": True},
        {**said.json, "event_id": "d", "predicted_at": many.json["answers"][1]["predicted_at"]},
    ]
    label = site.one({"event_id": "a", "value": 1}, "/v1/labels")
    assert (label.status, label.code, label.headers["retry-after"]) == (503, "spool-failed", "1")
    assert [each.event.event_id for each in site.predictions()] == ["a"]
