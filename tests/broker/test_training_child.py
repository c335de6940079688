"""The process that trains for a trainer, on a log of a real Kafka: its messages, its file, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from batch_log import records, simple_rows, trained
from loop_helpers import put

from consumers.trainer.training_messages import (
    ESTIMATOR,
    TrainingFailed,
    TrainingMessage,
    TrainingProgress,
    TrainingRequest,
    TrainingResult,
)
from consumers.trainer.versions import VersionMaker
from millstream.cli import app as cli
from millstream.config.settings import Settings
from millstream.stream.load import load_stream
from millstream.stream.processor_rules import definition_of
from millstream.topics import admin
from millstream.training.priority import FIXED
from model_store import Manifest, VersionId, open_store
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition
from schemas.jobs import Claim, Job
from schemas.topics import Names

STREAM = """
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.pipeline import make_pipeline
from river import linear_model
from millstream import BatchModel, Stream

def trees():
    return make_pipeline(
        DictVectorizer(sparse=False), HistGradientBoostingClassifier(max_iter=20, random_state=1))

stream = Stream(name="mine", task="binary", model=linear_model.LogisticRegression, batch={
    "tree": BatchModel(trees, search={"histgradientboostingclassifier__learning_rate": [0.1, 0.2]}),
    "warm": BatchModel(trees, warm_start=True), "small": BatchModel(trees, memory="1MiB")})
"""
ROWS = 600


class Log:
    """A stream with examples on a Kafka."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "mine.py"
        self.file.write_text(STREAM)
        self.loaded = load_stream(str(self.file))
        self.settings = Settings(folder / "home", bootstrap, prefix)
        self.cluster, self.names = Cluster(bootstrap), Names("mine", prefix)
        admin.create(self.cluster, self.names, partitions=1, label_wait_ms=self.loaded.stream.labels.wait_ms)
        self.records = records(simple_rows(ROWS))
        put(self.cluster, self.topic, [each.value or b"" for each in self.records])

    @property
    def topic(self) -> str:
        return self.names.topic("examples")

    def request(self, **more: object) -> TrainingRequest:
        given = {
            "stream": str(self.file),
            "model": "tree",
            "job": "job-1",
            "attempt": 1,
            "topic_id": self.cluster.topic_info(self.topic)[self.topic].id,
            "begin": 0,
            "end": ROWS,
            "folder": str(self.folder),
        }
        return msgspec.convert({**given, **more}, TrainingRequest)

    def version(self, **more: object) -> Manifest:
        """Train a version and put it into the store, as a trainer does."""
        request = self.request(**more)
        result = self.run(request)[-1]
        assert isinstance(result, TrainingResult)
        store = open_store(self.settings.models, self.settings.keys, sign=True)
        own = self.loaded.of_model(request.model)
        maker = VersionMaker(store, definition_of(own), "binary")
        claim = Claim(request.attempt, request.topic_id, request.begin, request.end, request.parent)
        maker.make(Job(request.job, request.model, "", "me", 0), claim, result, self.folder)
        return store.manifest(VersionId(own.model_id, request.attempt, result.examples))

    def run(self, request: TrainingRequest) -> list[TrainingMessage]:
        """Run a child as a trainer does; return its messages."""
        done = subprocess.run(
            [sys.executable, "-P", "-m", "millstream.training.child"],
            input=msgspec.json.encode(request),
            env={"PYTHONPATH": ":".join(sys.path), **self.settings.environment()},
            stdout=subprocess.PIPE,
            timeout=120,
            check=True,
        )
        return [msgspec.json.decode(line, type=TrainingMessage) for line in done.stdout.splitlines()]


@pytest.fixture
def log(bootstrap: str, prefix: str, tmp_path: Path) -> Log:
    return Log(bootstrap, prefix, tmp_path)


def test_a_child_trains_what_the_same_records_in_memory_give(log: Log, tmp_path: Path) -> None:
    *progress, result = log.run(log.request())
    assert isinstance(result, TrainingResult)
    assert all(isinstance(each, TrainingProgress) for each in progress)
    assert (log.folder / ESTIMATOR).exists()
    here = trained(log.loaded.of_model("tree").stream, log.records, tmp_path)
    assert (result.chain, result.probed, result.examples) == (here.chain, here.probed, here.examples)
    assert result.comparison == here.comparison


@pytest.mark.full
def test_a_verified_version_is_trained_again_and_equal(
    log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in log.settings.environment().items():
        monkeypatch.setenv(name, value)
    first = log.version(begin=0, end=400)
    verify = ("models", "verify", str(log.file))
    assert cli.run((*verify, f"tree:1/{first.examples}", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["examples"], said["chain"], said["answers"], said["replayed"]) == (True, True, True, 400)
    before = log.version(model="warm", begin=0, end=400)
    warm = log.version(model="warm", attempt=2, parent=f"warm:1/{before.examples}")
    assert warm.fingerprint != before.fingerprint
    assert cli.run((*verify, f"warm:2/{warm.examples}")) == 0
    assert "is what the log says" in capsys.readouterr().out


def test_a_child_fails_with_the_reason_where_another_attempt_would_fail_too(log: Log) -> None:
    (*_, other_log) = log.run(log.request(topic_id="AAAAAAAAAAAAAAAAAAAAAA"))
    assert isinstance(other_log, TrainingFailed)
    assert "is not the log that the job was asked for" in other_log.why
    (*_, too_small) = log.run(log.request(model="small"))
    assert isinstance(too_small, TrainingFailed)
    assert "of memory, and may hold 1 MiB: give it more (memory=)" in too_small.why


def test_versions_are_ranked_on_a_range_that_they_have_not_learned(
    log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, value in log.settings.environment().items():
        monkeypatch.setenv(name, value)
    early, late = log.version(begin=0, end=300), log.version(attempt=2)
    versions = [f"tree:{each.version.epoch}/{each.examples}" for each in (early, late)]
    evaluate = ("models", "evaluate", str(log.file), *versions, "--json")
    picture = tmp_path / "picture.png"
    assert cli.run((*evaluate, "--from", "500", "--by", "x", "--png", str(picture))) == 0
    report = json.loads(capsys.readouterr().out)
    assert {each["version"]: each["seen"] for each in report["versions"]} == dict.fromkeys(versions, 0)
    assert all(each["rank"] in (1, 2) for each in report["versions"])
    assert (report["measured"], report["served"]) == (100, 100)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert cli.run((*evaluate, "--from", "250")) == 0
    report = json.loads(capsys.readouterr().out)
    seen = {each["version"]: (each["rank"], each["seen"]) for each in report["versions"]}
    assert seen[versions[1]] == (None, late.examples - 250)
    assert seen[versions[0]] == (1, 0)


def test_what_retention_has_deleted_is_named(
    log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**log.settings.environment(), **FIXED}.items():
        monkeypatch.setenv(name, value)
    made = log.version(begin=0, end=400)
    with log.cluster.admin() as admin:
        admin.delete_records({Partition(log.topic, 0): 100})
    why = "begins at offset 100, after the 0 of the job's range: retention has taken what lies between"
    (*_, failed) = log.run(log.request())
    assert isinstance(failed, TrainingFailed)
    assert why in failed.why
    assert cli.run(("models", "verify", str(log.file), f"tree:1/{made.examples}")) == 1
    assert why in capsys.readouterr().err
