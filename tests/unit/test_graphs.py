"""ONNX graphs: converted ones answer as the originals, those made elsewhere answer, hostile ones are refused."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from batch_log import records, simple_rows, stream_with, trained
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from store_parts import draft, store_on, version
from version_code_parts import forgetting_imports

from consumers.model.checkpoints import cpu_name
from consumers.model.estimator_model import RowForm, wrap_estimator
from consumers.model.fingerprint import fingerprint
from consumers.model.graph_conversion import CannotConvert, insist_on_equal, to_graph, wrap_graph
from consumers.model.graph_model import GRAPH_CLASSES, GraphEstimator
from consumers.model.version_loader import VersionLoader
from consumers.model.version_runtime import RunWith
from millstream.stream.load import load_stream
from millstream.version_code.choice import VersionCode
from millstream.versions.import_graph import CannotImport, announcement, import_graph
from model_store import Damaged, MemoryBackend, VersionRefused, dumps_estimator, loads_estimator
from model_store.onnx_graph import MOST_GRAPH_BYTES, GraphFailed, GraphProcess, Told, require_graph
from model_store.onnx_process import _answer_in_forks
from runtime.exits import Doubt
from schemas.events import Features

onnx = pytest.importorskip("onnx")
pytest.importorskip("skl2onnx")
pytest.importorskip("onnxruntime")
helper, F = onnx.helper, onnx.TensorProto.FLOAT

ROWS: list[Features] = [
    {"x": float(n % 7), "y": 1.0 / (n + 1), "by": "sea" if n % 3 else "air", "v": [float(n % 5), n / 60]}
    for n in range(60)
]
LABELS = [n % 7 > 3 for n in range(60)]


def dicts(last: Any) -> Any:
    return make_pipeline(DictVectorizer(sparse=False), last)


def columns() -> Any:
    return make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["by"]), (StandardScaler(), ["x", "y"])
    )


KINDS: dict[str, tuple[str, Callable[[], Any], list[Any]]] = {
    "trees": ("dicts", lambda: dicts(HistGradientBoostingClassifier(max_iter=5, random_state=1)), LABELS),
    "forest": ("dicts", lambda: dicts(RandomForestClassifier(5, random_state=1)), ["abc"[n % 3] for n in range(60)]),
    "numbers": ("dicts", lambda: dicts(HistGradientBoostingRegressor(max_iter=5)), [n / 7 for n in range(60)]),
    "frame": ("frame", lambda: make_pipeline(columns(), LogisticRegression()), LABELS),
    "vector": ("vector", lambda: make_pipeline(StandardScaler(), LogisticRegression()), [n % 3 for n in range(60)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_estimator_answers_as_the_original(kind: str) -> None:
    rows, make, labels = KINDS[kind]
    task: Any = {"numbers": "regression", "forest": "multiclass", "vector": "multiclass"}.get(kind, "binary")
    several = (
        [{name: value for name, value in each.items() if name != "v"} for each in ROWS] if rows != "vector" else ROWS
    )
    # Sums over a batch may differ from those over one event in the last bit.
    form = RowForm.of(rows, several, vector="v").asked_alone()  # type: ignore[arg-type]
    estimator = make().fit(form.matrix(several), labels)
    original = wrap_estimator(estimator, task, form)
    store = store_on(MemoryBackend())
    graph = to_graph(estimator, form)
    there = wrap_graph(graph, estimator, task, form)
    assert insist_on_equal(original, there, several) <= 1e-4
    extra = {"form": form.as_json(), "probe": several[:4], "probed": fingerprint(there, several[:4])}
    files = {"estimator": dumps_estimator(estimator), "graph": graph}
    manifest = store.publish(draft(version(1, 60), cpu=cpu_name(), extra=extra), files)
    face = VersionLoader(store, task, lambda each: RunWith()).load(manifest, None).face
    face.ahead(several)
    assert [repr(face.predict(each)) for each in several] == [repr(there.predict(each)) for each in several]


def test_a_graph_that_answers_otherwise_is_refused() -> None:
    form = RowForm.of("vector", ROWS, vector="v")
    one = LogisticRegression().fit(form.matrix(ROWS), LABELS)
    other = LogisticRegression().fit(form.matrix(ROWS), [n % 5 > 2 for n in range(60)])
    with pytest.raises(CannotConvert, match="answers"):
        insist_on_equal(
            wrap_estimator(one, "binary", form), wrap_graph(to_graph(other, form), other, "binary", form), ROWS
        )
    with pytest.raises(CannotConvert, match="begins with a DictVectorizer"):
        to_graph(one, RowForm("dicts"))


# --- graphs made elsewhere --------------------------------------------------------------------------------


def value(name: str, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, F, [*shape])


def model(*nodes: Any, initial: Any = (), domains: Any = (), width: Any = 2, **more: Any) -> Any:
    graph = helper.make_graph([*nodes], "g", [value("x", None, 2)], [value("p", None, width)], [*initial])
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(each, 1) for each in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def softmax(**more: Any) -> Any:
    return model(helper.make_node("Softmax", ["x"], ["p"], axis=1), **more)


@pytest.fixture
def process() -> Iterator[Callable[..., GraphProcess]]:
    made: list[GraphProcess] = []

    def start(graph: Any, **more: Any) -> GraphProcess:
        made.append(GraphProcess(graph if isinstance(graph, bytes) else graph.SerializeToString(), **more))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_a_graph_made_elsewhere_is_a_version_that_answers() -> None:
    graph = softmax().SerializeToString()
    inputs, outputs = require_graph(graph)
    assert [(each.name, each.kind, each.shape) for each in (*inputs, *outputs)] == [
        ("x", "tensor(float)", [None, 2]), ("p", "tensor(float)", [None, 2]),
    ]  # fmt: skip
    form = RowForm.of("vector", ROWS, vector="v")
    store = store_on(MemoryBackend())
    extra = {"form": form.as_json(), GRAPH_CLASSES: [False, True], "probe": ROWS[:1]}
    manifest = store.publish(draft(version(1, 1), extra=extra), {"graph": graph})
    face = VersionLoader(store, "binary", lambda each: RunWith()).load(manifest, None).face
    face.ahead(ROWS)
    for features in ROWS:
        (a, b), shares = features["v"], face.predict(features).probabilities  # type: ignore[misc]
        assert shares == pytest.approx({False: 1 / (1 + np.exp(b - a)), True: 1 / (1 + np.exp(a - b))}, abs=1e-6)
    bad = store.publish(draft(version(2, 1), extra={**extra, GRAPH_CLASSES: ["a", "b", "c"]}), {"graph": graph})
    with pytest.raises(VersionRefused, match="no output of probabilities of 3 classes"):
        VersionLoader(store, "multiclass", lambda each: RunWith()).load(bad, None)


def test_what_a_graph_does_not_take_is_an_error_of_that_event(process: Callable[..., GraphProcess]) -> None:
    there = process(softmax())
    with pytest.raises(GraphFailed):
        there.run({"x": np.zeros((1, 3), dtype=np.float32)})
    assert there.run({"x": np.zeros((1, 2), dtype=np.float32)})[0].tolist() == [[0.5, 0.5]]


def test_a_process_that_is_killed_is_started_again_and_asked_in_forks(process: Callable[..., GraphProcess]) -> None:
    there = process(softmax())
    row = {"x": np.array([[0.25, 1.5]], dtype=np.float32)}
    expected = there.run(row)[0].tolist()
    for _ in range(2):
        os.kill(there._process.pid, 9)
        assert there.run(row)[0].tolist() == expected
    with pytest.raises(GraphFailed):
        there.run({"x": np.zeros((1, 3), dtype=np.float32)})


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_an_input_that_ends_each_process_is_an_error_of_that_event() -> None:
    class Deadly:
        def run(self, outputs: Any, given: Any) -> Any:
            os.kill(os.getpid(), 9)

    told = msgspec.msgpack.decode(_answer_in_forks(Deadly(), ["p"], []), type=Told)
    assert (told.raised, told.message) == ("ProcessEnded", "the graph's process ends at this input, by signal 9")


def test_a_graph_that_was_closed_is_not_started_again(process: Callable[..., GraphProcess]) -> None:
    there = process(softmax())
    there.close()
    with pytest.raises(Doubt, match="was ended with its version"):
        there.run({"x": np.zeros((1, 2), dtype=np.float32)})


def external(path: str) -> Any:
    tensor = helper.make_tensor("w", F, [1], [0.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", path
    return tensor


def inside(kind: str) -> Any:
    """Return an operator with a graph inside it."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["a"], ["a2"])],
        "body",
        [helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
         helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []), value("a", None, 2)],
        [helper.make_tensor_value_info("c2", onnx.TensorProto.BOOL, []), value("a2", None, 2)],
    )  # fmt: skip
    return helper.make_node(kind, ["", "true", "x"], ["p"], body=body)


def in_a_branch(node: Any) -> Any:
    branch = helper.make_graph([node], "b", [], [value("q", None, 2)])
    same = helper.make_graph([helper.make_node("Identity", ["x"], ["q"])], "s", [], [value("q", None, 2)])
    return helper.make_node("If", ["true"], ["p"], then_branch=branch, else_branch=same)


TRUE = helper.make_tensor("true", onnx.TensorProto.BOOL, [], [True])
BIG = helper.make_tensor("big", onnx.TensorProto.INT64, [2], [1 << 20, 1 << 20])
CONSTANT = "Constant"


def with_function() -> Any:
    made = softmax(domains=["local"])
    inner = helper.make_node("Identity", ["a"], ["b"])
    made.functions.append(helper.make_function("local", "f", ["a"], ["b"], [inner], [helper.make_opsetid("", 17)]))
    return made


def with_training() -> Any:
    made = softmax()
    made.training_info.add()
    return made


def sparse_external() -> Any:
    indices = helper.make_tensor("i", onnx.TensorProto.INT64, [1], [0])
    return helper.make_sparse_tensor(external("/etc/passwd"), indices, [2])


def sparse_initial() -> Any:
    made = softmax()
    made.graph.sparse_initializer.append(sparse_external())
    return made


def identity(name: str, **more: Any) -> Any:
    return helper.make_node("Identity", [name], ["p"], **more)


HOSTILE: dict[str, Callable[[], Any]] = {
    "values in a file": lambda: model(helper.make_node("Add", ["x", "w"], ["p"]), initial=[external("/etc/passwd")]),
    "values in a relative file": lambda: model(helper.make_node("Add", ["x", "w"], ["p"]), initial=[external("../k")]),
    "values in a file, of a constant": lambda: model(
        helper.make_node(CONSTANT, [], ["w"], value=external("/etc/passwd")), helper.make_node("Add", ["x", "w"], ["p"])
    ),
    "values in a file, in a branch": lambda: model(
        in_a_branch(helper.make_node(CONSTANT, [], ["q"], value=external("/etc/passwd"))), initial=[TRUE]
    ),
    "sparse values in a file": sparse_initial,
    "sparse values in a file, of a constant": lambda: model(
        helper.make_node(CONSTANT, [], ["w"], sparse_value=sparse_external()),
        helper.make_node("Add", ["x", "w"], ["p"]),
    ),
    "an operator of Microsoft": lambda: model(
        helper.make_node("Gelu", ["x"], ["p"], domain="com.microsoft"), domains=["com.microsoft"]
    ),
    "a Python operator": lambda: model(
        helper.make_node("PyOp", ["x"], ["p"], domain="pyopmulti_1", module="os", class_name="system"),
        domains=["pyopmulti_1"],
    ),
    "an operator of others without its domain": lambda: model(helper.make_node("Gelu", ["x"], ["p"], domain="x.y")),
    "an operator of others in a branch": lambda: model(
        in_a_branch(helper.make_node("Run", ["x"], ["q"], domain="x.y")), initial=[TRUE]
    ),
    "a domain that nothing uses": lambda: softmax(domains=["ai.onnx.contrib"]),
    "an operator that is none": lambda: model(helper.make_node("System", ["x"], ["p"])),
    "a function of its own": with_function,
    "what is for training": with_training,
    "a loop": lambda: model(inside("Loop"), initial=[TRUE]),
    "a loop in a branch": lambda: model(
        in_a_branch(helper.make_node("Scan", ["x"], ["q"], body=softmax().graph, num_scan_inputs=1)), initial=[TRUE]
    ),
    "no graph": lambda: b"\x80\x04cposix\nsystem\n.",
    "nothing": lambda: b"",
    "half a graph": lambda: softmax().SerializeToString()[:60],
    "an input that is not there": lambda: model(identity("missing")),
    "a circle": lambda: model(helper.make_node("Add", ["p", "x"], ["p"])),
    "a graph that is too large": lambda: bytes(MOST_GRAPH_BYTES + 1),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_is_refused(name: str, process: Callable[..., GraphProcess], tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"refused|bytes"):
        process(HOSTILE[name]())


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 20


def test_a_graph_that_asks_for_memory_without_bound_gets_an_error(process: Callable[..., GraphProcess]) -> None:
    there = process(
        model(
            helper.make_node("ConstantOfShape", ["big"], ["huge"]),
            helper.make_node("ReduceSum", ["huge"], ["s"], keepdims=0),
            helper.make_node("Add", ["x", "s"], ["p"]),
            initial=[BIG],
        ),
        most_memory=2 << 30,
    )
    began = time.monotonic()
    with pytest.raises((GraphFailed, Doubt)):
        there.run({"x": np.zeros((1, 2), dtype=np.float32)})
    assert time.monotonic() - began < 30


def test_its_process_has_no_secrets(process: Callable[..., GraphProcess], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_PASSWORD", "a secret")
    there = process(softmax())
    assert b"a secret" not in Path(f"/proc/{there._process.pid}/environ").read_bytes()


def test_an_estimator_of_a_graph_ends_its_process() -> None:
    made = GraphEstimator(softmax().SerializeToString(), RowForm("vector", vector="v", width=2), [False, True])
    assert made.predict(np.array([[0.0, 1.0]])) == [True]
    made.close()
    assert made._process._process.poll() is not None


FILE = """
from river import linear_model
from sklearn.linear_model import LogisticRegression
from millstream import BatchModel, Stream

stream = Stream(
    name="shapes", task="binary", label="y", features={"v": "vector", "n": "number"}, model=linear_model.LogisticRegression,
    batch={
        "net": BatchModel(LogisticRegression, rows="vector", deploy="by-hand"),
        "wide": BatchModel(LogisticRegression, rows="frame"),
        "other": BatchModel(LogisticRegression),
    },
)
"""  # noqa: E501 - the text of a file


def test_a_graph_is_imported_as_the_newest_version_of_a_batch_model(tmp_path: Path) -> None:
    (tmp_path / "shapes.py").write_text(FILE)
    store, graph = store_on(MemoryBackend()), softmax().SerializeToString()
    with forgetting_imports():
        loaded = load_stream(str(tmp_path / "shapes.py"))
        for epoch in (1, 2):
            manifest = import_graph(store, loaded.of_model("net"), graph, 5)
            assert str(manifest.version) == f"net:{epoch}/5"
        choose = VersionCode(loaded, store).to_answer
        face = VersionLoader(store, "binary", choose).load(manifest, None).face
        assert face.predict({"v": [0.0, 0.0], "n": 1.0}).probabilities == {False: 0.5, True: 0.5}
        assert announcement(store, manifest).key == "published/shapes.net/0"
        for name, said in (("other", "takes no dictionaries"), ("", "is no batch model"), ("wide", "does not answer")):
            with pytest.raises(CannotImport, match=said):
                import_graph(store, loaded.of_model(name), graph, 5)
        bare = helper.make_graph([identity("x")], "g", [value("x", None, None)], [value("p", None, 2)])
        opsets = [helper.make_opsetid("", 17)]
        open_ended = helper.make_model(bare, opset_imports=opsets, ir_version=8).SerializeToString()
        with pytest.raises(CannotImport, match="leaves open"):
            import_graph(store, loaded.of_model("net"), open_ended, 5)
        with pytest.raises(VersionRefused, match="in another file"):
            import_graph(store, loaded.of_model("net"), HOSTILE["values in a file"]().SerializeToString(), 5)


def test_a_job_trains_tests_and_writes_the_graph(tmp_path: Path) -> None:
    log = records(simple_rows(600))
    result = trained(stream_with(lambda: dicts(HistGradientBoostingClassifier(max_iter=10)), onnx=True), log, tmp_path)
    graph = (tmp_path / "graph.onnx").read_bytes()
    estimator = loads_estimator((tmp_path / "estimator.skops").read_bytes(), cap_bytes=1 << 30)
    face = wrap_graph(graph, estimator, "binary", RowForm.from_json(result.form))
    assert fingerprint(face, result.probe) == result.probed
    assert fingerprint(wrap_estimator(estimator, "binary", RowForm("dicts")), result.probe) != result.probed
