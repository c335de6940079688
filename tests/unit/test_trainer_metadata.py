"""What the trainer writes beside its offset, and what status and metrics say of it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from prometheus_client.registry import CollectorRegistry
from rich.console import Console
from unit.test_status import _DISK, _done

from consumers.loop.job_states import LONGEST_ID
from consumers.roles import TRAINER
from consumers.trainer.alerts import FAILED
from consumers.trainer.offset_metadata import TrainerMetadata, Working, Written
from millstream.cli.status import _print
from millstream.observability.prometheus.collector import RoleCollector
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.role_metrics import RoleMeter
from millstream.status.render import Page
from millstream.status.report import Report, as_json, report
from millstream.status.snapshot import Commit
from millstream.stream.batch import MOST_BATCH
from runtime.kafka_client import size_limits
from runtime.kafka_client.records import CommittedOffset, Partition

TEXT = (
    '{"t":"0123456789abcdef","gone":0,"begun":0,"models":["gbdt"],"slots":{"gbdt":86400000},'
    '"written":["gbdt.1","running",2],"working":["gbdt.1","gbdt",2,5000,3,20],"waiting":1,"trained":4,"failed":1,'
    '"cancelled":2,"attempts":9,"deployed":1,"alerts":["trainer.failed.gbdt"]}'
)
METADATA = TrainerMetadata(
    topic_id="0123456789abcdef",
    models=["gbdt"],
    slots={"gbdt": 86_400_000},
    written=Written("gbdt.1", "running", 2),
    working=Working("gbdt.1", "gbdt", 2, 5_000, 3, 20),
    waiting=1,
    trained=4,
    failed=1,
    cancelled=2,
    attempts=9,
    deployed=1,
    alerts=["trainer.failed.gbdt"],
)


def test_a_text_is_read_and_written_again_to_the_letter() -> None:
    assert METADATA.encode() == TEXT
    assert TrainerMetadata.decode(TEXT) == METADATA


def test_the_most_that_is_remembered_fits_beside_an_offset() -> None:
    names = [f"{number:02}".ljust(31, "x") for number in range(MOST_BATCH)]
    longest = "ä" * LONGEST_ID
    most = TrainerMetadata(
        topic_id="f" * 16,
        gone=10**12,
        begun=1000,
        models=names,
        slots=dict.fromkeys(names, 10**13),
        written=Written(longest, "cancelled", 10**6),
        working=Working(longest, names[0], 10**6, 10**13, 10**9, 10**9),
        waiting=10**6,
        trained=10**9,
        failed=10**9,
        cancelled=10**9,
        attempts=10**9,
        deployed=10**9,
        alerts=[FAILED + name for name in names],
    )
    assert len(most.encode()) < size_limits.OFFSET_METADATA


def _report() -> Report:
    now = _done()
    commits = {
        **now.committed,
        TRAINER: {("jobs", 0): Commit(7, METADATA), ("alerts", 0): Commit(3, TrainerMetadata())},
    }
    return report(replace(now, committed=commits, at_ms=65_000), "s", "kafka:9092", _DISK)


def test_status_says_what_is_trained_and_how_jobs_have_ended(capsys: pytest.CaptureFixture[str]) -> None:
    found = _report()
    line = "gbdt is trained since 1 min (attempt 2, 3 of 20), 1 waits; 4 done (1 served at once), 1 failed, 2 cancelled"
    assert found.jobs is not None
    assert found.jobs.line() == line
    told = as_json(found)["jobs"]
    assert (told["job"], told["since_ms"], told["trained"]) == ("gbdt.1", 60_000, 4)
    assert msgspec.json.encode(told)
    _print(found)
    printed, page = capsys.readouterr().out, io.StringIO()
    Console(file=page, width=200, height=40, force_terminal=False).print(Page(found, ""))
    assert line in printed
    assert "gbdt is trained since 1 min" in page.getvalue()


def test_status_of_a_stream_without_a_trainer_says_nothing_of_jobs() -> None:
    assert report(_done(), "s", "kafka:9092", _DISK).jobs is None


def test_metrics_are_those_of_the_newest_commit(tmp_path: Path) -> None:
    meter, registry = RoleMeter(Ends(tmp_path / "ends.json")), CollectorRegistry()
    registry.register(RoleCollector(meter, "s", TRAINER, "s.trainer-0"))
    meter.assigned([Partition("s.jobs", 0), Partition("s.alerts", 0)])
    places = {
        Partition("s.alerts", 0): CommittedOffset(3, TrainerMetadata().encode()),
        Partition("s.jobs", 0): CommittedOffset(7, TEXT),
    }
    meter.committed([], places, 0.1)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"millstream_{name}", {"stream": "s", "role": TRAINER, **labels})

    assert [value("jobs_total", state=each) for each in ("done", "failed", "cancelled")] == [4, 1, 2]
    assert (value("job_attempts_total"), value("jobs_waiting"), value("jobs_deployed_total")) == (9, 1, 1)
    assert value("job_since_timestamp_seconds", model="gbdt") == 5
    assert value("job_progress", model="gbdt") == 0.15
