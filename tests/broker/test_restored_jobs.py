"""Batch models after a restore: jobs, versions and what serves are as in the backup, and training goes on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_log import BEGIN_MS, imported, record, simple_rows
from broker.batch_jobs import ROWS, STREAM, Batch, children
from loop_helpers import put

from consumers.loop.log_faults import short_ids
from consumers.model.models_topic_state import Known
from millstream.reading import topic_readers
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition, Record
from schemas.alerts import Alert, read_alert_record
from schemas.topics import Names

SCHEDULED = STREAM.replace('deploy="if-better"', 'deploy="if-better", every="1d", at="02:00"')


@pytest.fixture
def batch(home: Path, cluster: Cluster, prefix: str, environment: dict[str, str], run: Callable[..., Any]) -> Batch:
    return Batch.made(home, cluster, prefix, environment, run, SCHEDULED)


def uploaded(batch: Batch, count: int) -> None:
    """Put uploaded examples on the log, whose time is that of their records, then examples that are predicted later."""
    rows = simple_rows(count, seed=2)
    found = [imported(number, 0, row.features, row.label, BEGIN_MS) for number, row in enumerate(rows)]
    put(batch.cluster, batch.names.topic("examples"), [each.value or b"" for each in found])
    now = time.time_ns() // 1_000_000 + 1
    rows = simple_rows(count, seed=3)
    later = [replace(row, predicted_ms=now + number, labelled_ms=now + number) for number, row in enumerate(rows)]
    lines = [record(1000 + number, ROWS + number, row) for number, row in enumerate(later)]
    put(batch.cluster, batch.names.topic("examples"), [each.value or b"" for each in lines])


def read(batch: Batch, kind: str) -> list[Record]:
    topic = batch.names.topic(kind)
    with closing(batch.cluster.consumer()) as consumer:
        end = topic_readers.end(consumer, topic)
        return [*topic_readers.between(consumer, Partition(topic, 0), 0, end)]


def restored(batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Back the stream up, and restore it under another prefix and home."""
    code, made, errors = batch.run("backup", "mine", str(tmp_path / "backup"))
    assert code == 0, errors
    home = tmp_path / "elsewhere"
    home.mkdir()
    file = Path(shutil.copy(batch.file, home))
    shutil.copytree(batch.home / "keys", home / "keys")
    there = Names("mine", f"{batch.names.prefix}b-", models=batch.names.models)
    given = {"MILLSTREAM_PREFIX": there.prefix, "MILLSTREAM_HOME": str(home)}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):  # a second time changes nothing
        code, told, errors = batch.run("restore", str(file), str(tmp_path / "backup"))
        assert (code, told["jobs"], told["versions"]) == (0, made["jobs"], made["versions"]), errors
    return replace(batch, file=file, home=home, names=there, environment={**batch.environment, **given})


def test_jobs_go_on_after_a_restore_and_none_runs_twice(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded(batch, 100)
    done, open_ = "", ""
    with batch.trainer():
        done = batch.ask()
        batch.until_ended(done)
        open_ = batch.ask("slow")
        batch.until(lambda: batch.job(open_).attempts == 1)
    was = batch.metadata()
    before = [(each.key, each.value) for each in read(batch, "jobs")]
    there = restored(batch, tmp_path, monkeypatch)
    assert [(each.key, each.value) for each in read(there, "jobs")] == before
    assert [each.timestamp for each in read(there, "examples")] == [each.timestamp for each in read(batch, "examples")]

    version = there.job(done).ending
    assert version is not None
    code, told, errors = there.run("models", "verify", str(there.file), version.version)
    assert (code, told["holds"]) == (0, True), errors
    known = Known()
    for each in read(there, "models"):
        known.take(each.key, each.value)
    assert known.serves("mine", 0) == "mine.quick"
    assert [each.version.epoch for each in known.announced("mine", 0)] == [1], "what served is announced again"

    note = there.metadata()
    assert (note.slots, note.trained, note.working) == (was.slots, 1, None)
    assert note.topic_id == short_ids(there.cluster.topic_info(there.names.topic("jobs"))[there.names.topic("jobs")].id)
    with there.trainer() as trainer:
        there.until(lambda: bool(children(trainer)))  # the claim of a log with another id: its copy is here
        assert there.job(open_).attempts == 2
        assert there.run("jobs", "cancel", str(there.file), open_)[0] == 0
        assert there.until_ended(open_).state == "cancelled"
        again = there.until_ended(there.ask())
    assert again.ending is not None
    assert again.ending.version.startswith("quick:2/"), "its epoch is behind that of the backup"
    assert [state for state, _ in there.steps(done)].count("done") == 1
    assert there.metadata().trained == 2


@pytest.mark.full
def test_an_alert_of_a_failed_job_stays_until_one_is_done(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with batch.trainer():
        _, told, _ = batch.run("train", str(batch.file), "quick", "--from", "0", "--to", "12")
        batch.until_ended(told["id"])
    there = restored(batch, tmp_path, monkeypatch)
    assert open_alerts(there) == ["trainer.failed.quick"]
    with there.trainer():
        there.until_ended(there.ask())
        there.until(lambda: open_alerts(there) == [])


def open_alerts(batch: Batch) -> list[str]:
    found = [read_alert_record(each.value or b"") for each in read(batch, "alerts")]
    states = {each.name: each.state for each in found if isinstance(each, Alert)}
    return [name for name, state in states.items() if state == "raised"]
