"""Batch models that serve as ONNX graphs, on a real Kafka: trained, converted, compared, signed, and refused."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_log import BEGIN_MS, STEP_MS, Row
from broker.batch_jobs import Batch

from consumers.model.estimator_model import wrap_estimator
from consumers.model.graph_conversion import MOST_APART, insist_on_equal, wrap_graph
from consumers.model.row_form import RowForm
from consumers.model.version_files import ESTIMATOR_FILE, GRAPH_FILE
from millstream.estimators.trial import answers_of
from model_store import VersionId
from runtime.kafka_client.cluster import Cluster

pytest.importorskip("skl2onnx")
pytest.importorskip("onnxruntime")

STREAM = """
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.kernel_approximation import Nystroem
from river import linear_model
from millstream import BatchModel, Stream

def trees():
    return make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(max_iter=10, random_state=1))

def curves():
    return make_pipeline(DictVectorizer(sparse=False), Nystroem(random_state=1), LogisticRegression(random_state=1))

stream = Stream(name="mine", task="binary", model=linear_model.LogisticRegression, batch={
    "graph": BatchModel(trees, onnx=True, deploy="if-better", sees=["x", "y"]),
    "large": BatchModel(trees, onnx=True, sees=["cents"]),
    "curves": BatchModel(curves, onnx=True, sees=["x", "y"]),
})
"""
ROWS = 400


def rows() -> list[Row]:
    """Return rows whose `cents` are numbers that 32 bits do not tell apart: their labels are all in the last digits."""
    found = []
    for number in range(ROWS):
        x, y = number * 7 % 11 / 11, number * 5 % 13 / 13
        at = BEGIN_MS + number * STEP_MS
        features = {"x": x, "y": y, "cents": 2.0**30 + 50 * x - 50 * y}
        found.append(Row(features, x > y, at, at + 5000, number % 2 == 0, {"true": 0.5, "false": 0.5}))
    return found


@pytest.fixture
def batch(home: Path, cluster: Cluster, prefix: str, environment: dict[str, str], run: Callable[..., Any]) -> Batch:
    return Batch.made(home, cluster, prefix, environment, run, STREAM, rows())


@pytest.mark.full
def test_a_job_gives_a_graph_that_answers_as_its_estimator_and_refuses_one_that_does_not(batch: Batch) -> None:
    ref = str(batch.file)
    with batch.trainer() as process:
        row = waited(batch, "graph")
        assert row["state"] == "done", (row, batch.said())
        answers_as_its_estimator(batch, row["version"])
        # A person who may read the signing key verifies; the trainer has it, too, and has loaded no graph.
        assert batch.run("models", "verify", ref, row["version"])[1]["holds"] is True
        assert not loaded_by(process, "onnx")
        refused(batch, "large", r"its graph answers", "leave out onnx=True")
        refused(batch, "curves", "has no converter for nystroem (Nystroem)", "leave out onnx=True")
    assert [each.model for each in batch.decisions("models")] == ["mine.graph"] * 2, "announced, and promoted"


def waited(batch: Batch, model: str) -> Any:
    return batch.run("train", str(batch.file), model, "--wait")[1]


def refused(batch: Batch, model: str, *parts: str) -> None:
    """Insist that a job fails in one line with these parts, at the first attempt, and leaves no version."""
    row = waited(batch, model)
    assert (row["state"], row["attempts"], row["version"]) == ("failed", 1, None), row
    assert "onnx=True: " in row["reason"]
    assert "\n" not in row["reason"]
    for part in parts:
        assert part in row["reason"], row["reason"]
    assert batch.store().versions(f"mine.{model}") == []


def answers_as_its_estimator(batch: Batch, name: str) -> None:
    store = batch.store()
    manifest = store.manifest(VersionId.parse(name, "mine"))
    assert {ESTIMATOR_FILE, GRAPH_FILE} <= {*manifest.files}
    estimator, form = store.load_estimator(manifest, ESTIMATOR_FILE), RowForm.from_json(manifest.extra["form"])
    graph = wrap_graph(store.read(manifest, GRAPH_FILE), estimator, "binary", form)
    several = [{name: each.features[name] for name in ("x", "y")} for each in rows()]
    original = wrap_estimator(estimator, "binary", form)
    assert insist_on_equal(original, graph, several) <= MOST_APART
    assert answers_of(graph, several) != answers_of(original, several), "it is the graph that answers"


def loaded_by(process: subprocess.Popen[str], name: str) -> bool:
    """Return whether a process has loaded compiled code of a package."""
    return f"/site-packages/{name}" in Path(f"/proc/{process.pid}/maps").read_text()
