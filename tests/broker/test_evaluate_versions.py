"""`millstream models evaluate` on a real Kafka: values, ranks, and what a version has learned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from batch_log import BEGIN_MS, STEP_MS, Row, imported, record, records, simple_rows
from batch_versions import put_version
from broker.commands import Run
from loop_helpers import put

from consumers.trainer.versions import COMPARISON, RANGE_BEGIN
from millstream.stream.load import LoadedStream, load_stream
from millstream.topics import admin
from model_store import Manifest, ModelStore, open_store
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

STREAM = """
from river import linear_model
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from millstream import BatchModel, Stream

stream = Stream(
    name="mine",
    task="binary",
    model=linear_model.LogisticRegression,
    slices={"right": "x > 0.5"},
    batch={
        "line": BatchModel(lambda: make_pipeline(DictVectorizer(sparse=False), LogisticRegression())),
        "poor": BatchModel(lambda: make_pipeline(DictVectorizer(), DummyClassifier())),
    },
)
"""
ROWS, LEARNED, ASKED = 700, 300, 400
"""Of the rows; the first ones are learned, those before `ASKED` are in the range of a job."""
CORRECTED, UPLOADED = 500, 3


class Log:
    """A stream with a log of examples, one correction and some imported rows, and versions of two batch models."""

    def __init__(self, bootstrap: str, prefix: str, home: Path) -> None:
        self.file = home / "mine.py"
        self.file.write_text(STREAM)
        self.loaded: LoadedStream = load_stream(str(self.file))
        cluster, names = Cluster(bootstrap), Names("mine", prefix)
        admin.create(cluster, names, partitions=1, label_wait_ms=self.loaded.stream.labels.wait_ms)
        self.rows = simple_rows(ROWS)
        found = records(self.rows)
        wrong = self.rows[CORRECTED]
        right = Row(wrong.features, not wrong.label, wrong.predicted_ms, BEGIN_MS + ROWS * STEP_MS)
        found.append(record(CORRECTED, ROWS, right, "correction"))
        self.rows[CORRECTED] = Row(wrong.features, right.label, wrong.predicted_ms, wrong.labelled_ms)
        for number in range(UPLOADED):
            features = {"x": 1.0, "y": 0.0}
            found.append(imported(number, ROWS + 1 + number, features, True, BEGIN_MS + ROWS * STEP_MS))
        put(cluster, names.topic("examples"), [each.value or b"" for each in found])
        self.topic_id = cluster.topic_info(names.topic("examples"))[names.topic("examples")].id
        self.store: ModelStore = open_store(home / "models" / prefix, home / "keys", sign=True)
        self.line, self.poor = self.version("line"), self.version("poor")

    def version(self, name: str) -> Manifest:
        """Return a version that was trained on the first rows of its range, and tested on the others."""
        rows = self.rows[:LEARNED]
        made: Manifest = put_version(
            self.store,
            self.loaded.of_model(name),
            1,
            [row.features for row in rows],
            [row.label for row in rows],
            topic_id=self.topic_id,
            end=ASKED,
            labels_to_ms=self.rows[LEARNED - 1].labelled_ms,
            **{RANGE_BEGIN: 0, COMPARISON: {"from_ms": self.rows[LEARNED].predicted_ms}},
        )
        return made


@pytest.fixture
def log(bootstrap: str, prefix: str, home: Path) -> Log:
    return Log(bootstrap, prefix, home)


def metrics(report: Any, name: str) -> dict[str, float]:
    (found,) = [each for each in report["results"] if each["name"] == name]
    return {metric: each["value"] for metric, each in found["metrics"].items()}


def test_versions_are_asked_ranked_and_compared_with_what_was_served(log: Log, run: Run) -> None:
    code, report, said = run("models", "evaluate", str(log.file), "poor", "line", "--from", str(ASKED), "--by", "right")
    assert code == 0, said
    assert report["measured"] == ROWS - ASKED + UPLOADED
    assert report["served"] == ROWS - ASKED
    first, second = report["versions"]
    assert (first["version"], first["rank"], first["seen"], first["tested"]) == ("line:1/300", 1, 0, 0)
    assert (second["version"], second["rank"], second["seen"]) == ("poor:1/300", 2, 0)

    estimator = log.store.load_estimator(log.line, "estimator")
    rows = log.rows[ASKED:]
    features = [*(row.features for row in rows), *[{"x": 1.0, "y": 0.0}] * UPLOADED]
    labels = [*(row.label for row in rows), *[True] * UPLOADED]
    wrong = sum(estimator.predict([each])[0] != label for each, label in zip(features, labels, strict=True))
    assert math.isclose(metrics(report, "line:1/300")["loss"], wrong / len(labels))
    assert math.isclose(metrics(report, "line:1/300")["Accuracy"], 1 - wrong / len(labels))
    trues = sum(row.label is True for row in rows)
    assert math.isclose(metrics(report, "as served")["loss"], trues / len(rows)), "False was served for all"
    assert any("corrected label" in note for note in report["notes"])

    slices = {each["value"]: each["counted"] for each in report["slices"]}
    assert slices == {value: sum((each["x"] > 0.5) is (value == "true") for each in features) for value in slices}
    pairs = {each["of"]: each for each in report["comparisons"]}
    assert {each["than"] for each in pairs.values()} == {"as served"}
    assert pairs["line:1/300"]["verdicts"]["loss"] == "better"


def test_what_a_version_has_learned_is_not_ranked(log: Log, run: Run) -> None:
    code, report, said = run("models", "evaluate", str(log.file), "line:1/300")
    assert code == 0, said
    (version,) = report["versions"]
    # The example in whose millisecond the test part begins counts as learned, too, if its label came so early.
    assert (version["seen"], version["tested"], version["rank"]) == (LEARNED, ASKED - LEARNED, None)
    assert report["unseen_from"] == LEARNED
    assert report["comparisons"] == []
    code, report, said = run("models", "evaluate", str(log.file), "line:1/300", "--from", str(report["unseen_from"]))
    assert [(each["seen"], each["rank"]) for each in report["versions"]] == [(0, 1)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("line:1/300", "--from", "5000"), "has no examples from 5000 to its end"),
        (("line:4/9",), "there is no version line:4/9: `millstream models list` shows those that there are"),
        (("tree",), "'tree' is no version and no model of mine"),
        (("line", "--by", "z"), "--by z: no row looked at has a value of that feature; there are: x, y"),
        (("line", "--from", str(ROWS), "--to", str(ROWS + 1)), "has no labelled example from 700 to 701 that can be"),
    ],
)
def test_it_says_what_is_wrong(log: Log, run: Run, words: tuple[str, ...], said: str) -> None:
    code, _, error = run("models", "evaluate", str(log.file), *words)
    assert code != 0
    assert said in error
    assert "Traceback" not in error


def test_a_version_that_does_not_load_is_refused_with_the_reason(log: Log, run: Run, home: Path) -> None:
    for file in (home / "models").rglob("*"):
        if file.is_file() and file.suffix != ".json" and "line" in str(file) and file.stat().st_size > 1000:
            file.chmod(0o600)
            file.write_bytes(file.read_bytes()[:-100])
    code, _, error = run("models", "evaluate", str(log.file), "line", "poor")
    assert code != 0
    assert "1/300" in error
    assert "Traceback" not in error
