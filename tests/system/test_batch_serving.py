"""A batch model's versions at work: asked in the shadow, promoted, pinned, traced, and read from Python."""

from __future__ import annotations

import math
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from batch_versions import announce, put_version
from river import datasets
from system.commands import millstream, publish, running, told, traced, until_learned, until_served
from system.oracle import Stream, predictions, read_all

import millstream as api
from millstream.stream.load import load_stream
from model_store import ModelStore, open_store
from runtime.kafka_client.cluster import Cluster
from schemas.comparisons import read_shadow

ROWS: list[tuple[Any, Any]] = list(datasets.Phishing())
FILE = """
from river import linear_model, preprocessing
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.pipeline import make_pipeline
from millstream import BatchModel, Stream

def trees():
    return make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(max_iter=20, random_state=1))

stream = Stream(
    name="both",
    task="binary",
    label="is_phishing",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    batch={
        "gbdt": BatchModel(trees),
        "net": BatchModel(HistGradientBoostingClassifier, rows="frame", deploy="by-hand"),
        "mine": BatchModel(lambda: HistGradientBoostingClassifier(max_iter=5), rows="frame", deploy="by-hand"),
    },
)
"""


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    file = tmp_path / "both.py"
    file.write_text(FILE)
    return Stream(str(file), bootstrap, prefix, tmp_path / "home")


def until_shadow_is_ready(log: Path) -> None:
    """A new shadow role begins at what the topic holds then: what was answered before has no shadow."""
    deadline = time.monotonic() + 60
    while "shadow-0" not in "".join(line for line in log.read_text().splitlines() if "ready: " in line):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def until_shadowed(stream: Stream, count: int) -> list[Any]:
    deadline = time.monotonic() + 60
    topic = stream.names.topic("shadows")
    while len(found := [read_shadow(each.value) for each in read_all(stream.bootstrap, topic)]) < count:
        assert time.monotonic() < deadline, f"{count} answers are to be in the shadow, not {len(found)}"
        time.sleep(0.2)
    return found


def trained(stream: Stream, store: ModelStore, name: str, epoch: int, count: int) -> None:
    loaded = load_stream(stream.ref).of_model(name)
    rows, labels = [x for x, _ in ROWS[:count]], [bool(y) for _, y in ROWS[:count]]
    manifest = put_version(store, loaded, epoch, rows, labels)
    announce(Cluster(stream.bootstrap), stream.names, store, manifest)


def serves_a_graph(stream: Stream, folder: Path) -> None:
    """Import a graph made elsewhere, if graphs can be run here; it serves, and its answers are computed again."""
    if find_spec("onnxruntime") is None:
        return
    onnx: Any = pytest.importorskip("onnx")
    float_, names = onnx.TensorProto.FLOAT, [*ROWS[0][0]]
    ins = [onnx.helper.make_tensor_value_info(name, float_, [None, 1]) for name in names]
    nodes = [
        onnx.helper.make_node("Sum", names, ["s"]),
        onnx.helper.make_node("Neg", ["s"], ["t"]),
        onnx.helper.make_node("Concat", ["s", "t"], ["both"], axis=1),
        onnx.helper.make_node("Softmax", ["both"], ["p"], axis=1),
    ]
    out = onnx.helper.make_tensor_value_info("p", float_, [None, 2])
    opsets = [onnx.helper.make_opsetid("", 17)]
    made = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", ins, [out]), opset_imports=opsets, ir_version=8)
    file = folder / "net.onnx"
    file.write_bytes(made.SerializeToString())
    assert (
        told(stream, "models", "import-onnx", stream.ref, "net", str(file), "--examples", "9")["version"] == "net:1/9"
    )
    millstream(stream, "models", "pin", stream.ref, "net:1/9")
    until_served(stream, "net:1/9")
    publish(stream, ROWS[320:340], folder / "from-320.csv")
    last = max(predictions(stream), key=lambda each: each.outcome.predicted_at)
    assert (last.outcome.model, last.outcome.error) == ("both.net", None)
    total = sum(float(value) for value in last.event.features.values())  # type: ignore[arg-type]
    assert (last.outcome.probabilities or {})["false"] == pytest.approx(1 / (1 + math.exp(-2 * total)), abs=1e-6)
    code, found = traced(stream, last.event.event_id)
    assert (code, found["again"]["equal"]) == (0, True)


def test_a_batch_model_is_asked_in_the_shadow_serves_and_is_recomputed(stream: Stream, tmp_path: Path) -> None:
    with running(stream, tmp_path / "run.log"):
        until_shadow_is_ready(tmp_path / "run.log")
        publish(stream, ROWS[0:200], tmp_path / "from-0.csv")
        until_learned(stream, 200)
        store = open_store(stream.models, stream.home / "keys", sign=True)
        for name in ("gbdt", "mine"):
            trained(stream, store, name, 1, 200)
        publish(stream, ROWS[200:260], tmp_path / "from-200.csv")
        answers = sorted(until_shadowed(stream, 260), key=lambda each: each.time)[-20:]
        assert all({each.model for each in said.challengers} == {"both.gbdt"} for said in answers)
        assert all(each.prediction in (True, False) for said in answers for each in said.challengers)
        counts = told(stream, "status", stream.ref)["compared"]
        assert (counts["errors"]["gbdt"], counts["unasked"]["gbdt"]) == (0, 200), "before its first version: no errors"

        millstream(stream, "models", "promote", stream.ref, "gbdt", "--why", "better")
        until_served(stream, "gbdt:1/200")
        publish(stream, ROWS[260:320], tmp_path / "from-260.csv")
        last = max(predictions(stream), key=lambda each: each.outcome.predicted_at)
        assert (last.outcome.model, last.outcome.error) == ("both.gbdt", None)
        assert set(last.outcome.probabilities or ()) == {"true", "false"}
        code, found = traced(stream, last.event.event_id)
        assert (code, found["again"]["equal"]) == (0, True)

        millstream(stream, "models", "pin", stream.ref, "mine:1/200", "--why", "by hand")
        until_served(stream, "mine:1/200")
        shown = told(stream, "models", "show", stream.ref)
        assert shown["version"] == "mine:1/200"
        trained(stream, store, "gbdt", 2, 300)
        millstream(stream, "models", "promote", stream.ref, "gbdt")
        until_served(stream, "gbdt:2/300")
        serves_a_graph(stream, tmp_path)
    found = api.model(stream.ref, "gbdt:2/300", home=stream.home, prefix=stream.prefix)
    assert found.predict(ROWS[0][0]).probabilities
