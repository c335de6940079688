"""Where answers over HTTP stand on this machine: by the spool, its locks and the forwarder's note."""

from __future__ import annotations

import os
from contextlib import closing
from io import StringIO
from pathlib import Path

from rich.console import Console

from millstream.config import instance_id
from millstream.status.http_state import look
from millstream.status.render import Page, line
from millstream.status.report import Model, Report, Stage
from millstream.status.this_machine import with_processes_here
from millstream.status.usage import usage_here
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


def test_a_report_has_processor_time_and_memory_of_the_processes_here(tmp_path: Path) -> None:
    (tmp_path / "joiner-0.lock").write_text(str(os.getpid()))  # nobody holds it: the process has ended
    (tmp_path / "learner-0.lock").touch()
    with closing(os.fdopen(instance_id.hold(tmp_path / "predictor-0.lock"))):
        found = usage_here(tmp_path)
    assert list(found) == ["predictor-0"]
    assert found["predictor-0"].pid == os.getpid()
    assert found["predictor-0"].cpu_seconds > 0
    assert 1 << 20 < found["predictor-0"].memory_bytes < 1 << 34


def test_a_report_has_the_line_in_every_form(tmp_path: Path) -> None:
    stage = Stage("predictor", 1, 0, 0, 0.0)
    model = Model("1/200", 1000, "1/200", None, False, None, {})
    bare = Report("fraud", "k:1", 0, (stage,), {}, 0, model, 0, True, 1, 1, ())
    assert with_processes_here(bare, tmp_path) == bare
    with closing(Spool(tmp_path / "spool")) as spool:
        spool.write([entry()])
        report = with_processes_here(bare, tmp_path)
        said = "workers: 1, forwarders: 0; of answers and labels 1 wait in the spool, 0 are on Kafka"
        assert f"HTTP: {said}" in line(report)
        page = Console(width=200, file=StringIO())
        page.print(Page(report, ""))
        assert said in page.file.getvalue()  # type: ignore[attr-defined]
        assert report.alerts == ("1 answers over HTTP wait in the spool, and no forwarder runs on this machine",)
