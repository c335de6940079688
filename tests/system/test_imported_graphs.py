"""Graphs as a user serves them: imported by the command, or converted by a job; and those that are refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_server
import pytest
from system.commands import millstream, publish, running, told, traced, until_learned, until_served
from system.oracle import Stream, predictions
from system.test_batch_serving import ROWS, until_shadow_is_ready, until_shadowed

from consumers.model.estimator_model import wrap_estimator
from consumers.model.row_form import RowForm
from consumers.model.version_files import ESTIMATOR_FILE, GRAPH_FILE
from millstream.versions.import_graph import IMPORT
from model_store import VersionId, open_store
from model_store.onnx_graph import MOST_GRAPH_BYTES

onnx: Any = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, FLOAT = onnx.helper, onnx.TensorProto.FLOAT
NAMES = [*ROWS[0][0]]
FILE = f"""
from river import linear_model, preprocessing
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from millstream import BatchModel, Stream

stream = Stream(
    name="both", task="binary", label="is_phishing", features={dict.fromkeys(NAMES, "number")!r},
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    batch={{
        "net": BatchModel(LogisticRegression, rows="frame"),
        "dicts": BatchModel(LogisticRegression, deploy="by-hand"),
        "trees": BatchModel(
            lambda: make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(max_iter=5)),
            onnx=True, deploy="by-hand"),
        "picture": BatchModel(LogisticRegression, rows="vector", deploy="by-hand"),
    }},
)
"""


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    file = tmp_path / "both.py"
    file.write_text(FILE)
    return Stream(str(file), bootstrap, prefix, tmp_path / "home")


def graph(*last: Any, names: Any = NAMES, sign: float = 1.0, width: int = 2, initial: Any = (), **more: Any) -> Any:
    """Return a graph that answers with the logistic function of twice the sum of its inputs."""
    nodes = [
        helper.make_node("Sum", [*names], ["sum"]),
        helper.make_node("Constant", [], ["sign"], value=helper.make_tensor("v", FLOAT, [], [sign])),
        helper.make_node("Mul", ["sum", "sign"], ["s"]),
        helper.make_node("Neg", ["s"], ["t"]),
        helper.make_node("Concat", ["s", "t"] if width == 2 else ["s", "t", "s"], ["both"], axis=1),
        *(last or [helper.make_node("Softmax", ["both"], ["p"], axis=1)]),
    ]
    ins = [helper.make_tensor_value_info(name, FLOAT, [None, 1]) for name in names]
    out = helper.make_tensor_value_info("p", FLOAT, [None, width])
    opsets = [helper.make_opsetid("", 17), *more.pop("opsets", ())]
    made = helper.make_graph(nodes, "g", ins, [out], [*initial])
    return helper.make_model(made, opset_imports=opsets, ir_version=8, **more)


def external() -> Any:
    tensor = helper.make_tensor("w", FLOAT, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return graph(helper.make_node("Add", ["both", "w"], ["p"]), initial=[tensor])


def custom() -> Any:
    node = helper.make_node("Run", ["both"], ["p"], domain="com.evil")
    return graph(node, opsets=[helper.make_opsetid("com.evil", 1)])


def written(made: Any, file: Path) -> Path:
    file.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return file


REFUSED: dict[str, tuple[str, Callable[[], Any], str]] = {
    "external data": ("net", external, "the values of 'w' are in another file"),
    "custom operator": ("net", custom, "it needs operators of 'com.evil', which are not ONNX's own"),
    "not a model": ("net", lambda: b"\x80\x04cposix\nsystem\n.", "is no graph of ONNX"),
    "truncated": ("net", lambda: graph().SerializeToString()[:200], "is no graph of ONNX"),
    "empty": ("net", lambda: b"", "is no graph of ONNX"),
    "wrong inputs": ("net", lambda: graph(names=["long_url", "amount"]), "input 'amount' is no feature of the stream"),
    "wrong outputs": ("net", lambda: graph(width=3), "no output of probabilities of 2 classes"),
    "no probabilities": ("net", lambda: graph(helper.make_node("Identity", ["both"], ["p"])), "add a Softmax"),
    "a model that learns": (
        "main",
        graph,
        "main is no batch model of the stream; these are: net, dicts, trees, picture",
    ),
    "no model": ("nets", graph, "it has no model 'nets'; its models are main, net"),
    "rows of dictionaries": ("dicts", graph, "declare rows='vector' or 'frame'"),
    "many inputs for a vector": ("picture", graph, "declare rows='frame'"),
}


def test_what_does_not_fit_or_is_hostile_is_refused_in_one_line(stream: Stream, tmp_path: Path) -> None:
    wrong = {}
    for name, (model, make, said) in REFUSED.items():
        wrong[name] = (refusal(stream, model, written(make(), tmp_path / "made.onnx")), said)
    large = tmp_path / "large.onnx"
    with large.open("wb") as sparse:
        sparse.truncate(MOST_GRAPH_BYTES + 1)
    wrong["too large"] = (refusal(stream, "net", large), "at most 256 MiB")
    wrong["no file"] = (refusal(stream, "net", tmp_path / "none.onnx"), "none.onnx: No such file")
    wrong["a folder"] = (refusal(stream, "net", tmp_path), "Is a directory")
    assert {name: said for name, (said, part) in wrong.items() if part not in said or said.count("\n") != 1} == {}
    assert open_store(stream.models, stream.home / "keys", sign=False).versions("both.net") == []


def refusal(stream: Stream, model: str, file: Path) -> str:
    """Return what an import says that ends with 1 (the graph is refused) or 2 (it does not fit, or is not there)."""
    done = command_server.run("models", "import-onnx", stream.ref, model, str(file), env=stream.environment())
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert done.stdout == ""
    return str(done.stderr)


@pytest.mark.full
def test_a_graph_made_elsewhere_is_shadowed_promoted_pinned_traced_filled_in_and_ranked(
    stream: Stream, tmp_path: Path
) -> None:
    with running(stream, tmp_path / "run.log"):
        until_shadow_is_ready(tmp_path / "run.log")
        first = imported(stream, graph(), tmp_path)
        assert first == "net:1/9"
        publish(stream, ROWS[:60], tmp_path / "from-0.csv")
        until_learned(stream, 60)
        last = until_shadowed(stream, 60)[-1]
        assert {each.model for each in last.challengers} == {"both.net"}
        assert all(isinstance(each.prediction, bool) for each in last.challengers)

        millstream(stream, "models", "promote", stream.ref, "net", "--why", "made by the other team")
        until_served(stream, first)
        publish(stream, ROWS[60:80], tmp_path / "from-60.csv")
        answers_with(stream, 1.0)

        second = imported(stream, graph(sign=-1.0), tmp_path)
        assert second == "net:2/9"
        until_served(stream, second)  # its model serves
        millstream(stream, "models", "pin", stream.ref, first, "--why", "the first was better")
        until_served(stream, first)
        publish(stream, ROWS[80:100], tmp_path / "from-80.csv")
        answers_with(stream, 1.0)
        until_learned(stream, 100)
        report = told(stream, "models", "evaluate", stream.ref, first, second, "--from", "0")
        assert report["measured"] == 100
        assert {each["version"]: each["seen"] for each in report["versions"]} == {first: 0, second: 0}
        right = {each["name"]: each["metrics"]["Accuracy"]["value"] for each in report["results"]}
        assert right[first] + right[second] == pytest.approx(1), "each answers the other's opposite"
        filled = told(
            stream, "backfill", stream.ref, "--from", "0", "--model", second, "--into", f"{stream.prefix}again"
        )
        assert (filled["written"], filled["unanswered"]) == (100, 0), filled
        store = open_store(stream.models, stream.home / "keys", sign=False)
        assert store.manifest(VersionId.parse(second, "both")).reason == IMPORT


def imported(stream: Stream, made: Any, folder: Path) -> str:
    file = written(made, folder / "net.onnx")
    return str(told(stream, "models", "import-onnx", stream.ref, "net", str(file), "--examples", "9")["version"])


def answers_with(stream: Stream, sign: float) -> None:
    """Insist on the newest answer by a formula of its own, and that `trace` computes it again."""
    last = max(predictions(stream), key=lambda each: each.outcome.predicted_at)
    assert (last.outcome.model, last.outcome.error) == ("both.net", None)
    total = sign * sum(float(value) for value in last.event.features.values())  # type: ignore[arg-type]
    assert (last.outcome.probabilities or {})["false"] == pytest.approx(1 / (1 + math.exp(-2 * total)), abs=1e-6)
    code, found = traced(stream, last.event.event_id)
    assert (code, found["again"]["equal"]) == (0, True)


@pytest.mark.full
def test_what_a_job_has_trained_and_converted_serves_as_its_estimator_answers(stream: Stream, tmp_path: Path) -> None:
    with running(stream, tmp_path / "run.log"):
        publish(stream, ROWS[:200], tmp_path / "from-0.csv")
        until_learned(stream, 200)
        job = told(stream, "train", stream.ref, "trees", "--wait")
        assert job["state"] == "done", job
        millstream(stream, "models", "pin", stream.ref, job["version"])
        until_served(stream, job["version"])
        publish(stream, ROWS[200:240], tmp_path / "from-200.csv")
        served = [each for each in predictions(stream) if each.outcome.model == "both.trees"]
        assert len(served) == 40
        store = open_store(stream.models, stream.home / "keys", sign=False)
        manifest = store.manifest(VersionId.parse(job["version"], "both"))
        assert {ESTIMATOR_FILE, GRAPH_FILE} <= {*manifest.files}
        form = RowForm.from_json(manifest.extra["form"])
        original = wrap_estimator(store.load_estimator(manifest, ESTIMATOR_FILE), "binary", form)
        for each in served:
            shares = original.predict(each.event.features).wire_probabilities()
            assert each.outcome.probabilities == pytest.approx(shares, abs=1e-4)
        code, found = traced(stream, served[-1].event.event_id)
        assert (code, found["again"]["equal"]) == (0, True)
        assert told(stream, "models", "verify", stream.ref, job["version"])["holds"] is True
