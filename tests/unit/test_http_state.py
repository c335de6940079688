"""Where answers over HTTP stand on this machine: by the spool, its locks and the forwarder's note."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from millstream.status.http_state import look
from server.spool.entries import SpooledRecord
from server.spool.folder import hold
from server.spool.spool import Made, Pending, Spool


def entry() -> Pending:
    return Pending(lambda number: Made((SpooledRecord("labels", 0, b"a", b"b"),), b"answer"))


def test_without_a_spool_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert look(tmp_path) is None


def test_what_waits_and_who_works(tmp_path: Path) -> None:
    with closing(Spool(tmp_path)) as spool:
        spool.write([entry(), entry(), entry()])
        spool.folder.note({0: 2}, {0: 2}, 0)
        found = look(tmp_path)
        assert found is not None
        assert (found.workers, found.forwarders, found.waiting, found.forwarded) == (1, 0, 1, 2)
        assert "no forwarder runs" in (found.needs() or "")
        hold(tmp_path / "forwarder.lock", "another")
        found = look(tmp_path)
        assert found is not None
        assert (found.forwarders, found.needs()) == (1, None)
    found = look(tmp_path)
    assert found is not None
    assert found.workers == 0


def test_damage_is_what_it_says(tmp_path: Path) -> None:
    with closing(Spool(tmp_path)):
        pass
    (tmp_path / "spool.json").write_text('{"format": 9, "id": "x"}')
    found = look(tmp_path)
    assert found is not None
    assert "format 9" in found.line()
    assert found.needs() == found.line()
