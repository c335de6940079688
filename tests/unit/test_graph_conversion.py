"""Estimators converted to ONNX graphs: they answer as before, or are refused in a line with the way out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_log import records, simple_rows, stream_with, trained
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from store_parts import draft, store_on, version

from consumers.model.checkpoints import cpu_name
from consumers.model.estimator_model import RowForm, wrap_estimator
from consumers.model.fingerprint import fingerprint
from consumers.model.graph_conversion import CannotConvert, GraphDiffers, insist_on_equal, to_graph, wrap_graph
from consumers.model.graph_model import GraphEstimator
from consumers.model.version_loader import VersionLoader
from consumers.model.version_runtime import RunWith
from millstream.estimators.fitting import CannotTrain
from model_store import MemoryBackend, dumps_estimator, loads_estimator
from model_store.onnx_graph import GraphProcess
from schemas.events import Features

pytest.importorskip("onnx")
pytest.importorskip("skl2onnx")
pytest.importorskip("onnxruntime")

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


def test_an_estimator_without_a_converter_is_refused_in_one_line_that_names_it_and_the_way_out() -> None:
    several = [{name: each[name] for name in ("x", "y")} for each in ROWS]
    for rows, make, said in (
        (
            "dicts",
            lambda: make_pipeline(DictVectorizer(), Nystroem(n_components=5), LogisticRegression()),
            "nystroem (Ny",
        ),
        ("frame", LogisticRegression, "begins with a ColumnTransformer: begin with one"),
    ):
        form = RowForm.of(rows, several)  # type: ignore[arg-type]
        with pytest.raises(CannotConvert) as refused:
            to_graph(make().fit(form.matrix(several), LABELS), form)
        assert said in str(refused.value)
        assert str(refused.value).endswith("or leave out onnx=True")
        assert "\n" not in str(refused.value)


def test_a_graph_that_refuses_what_its_estimator_answers_is_refused() -> None:
    form = RowForm.of("vector", ROWS, vector="v")
    estimator = LogisticRegression().fit(form.matrix(ROWS), LABELS)
    narrow = GraphEstimator(to_graph(estimator, form), form, [False, True])
    wide: list[Features] = [{"v": [1.0, 2.0, 3.0]}]
    both = (wrap_estimator(estimator, "binary", form), wrap_estimator(narrow, "binary", form))
    assert insist_on_equal(*both, wide) == 0.0, "both refuse it"
    with pytest.raises(GraphDiffers, match="it refuses an event that its graph answers"):
        insist_on_equal(wrap_estimator(_Refusing(estimator), "binary", form), both[1], ROWS[:3])


class _Refusing:
    """An estimator that takes nothing."""

    def __init__(self, estimator: Any) -> None:
        self.classes_ = estimator.classes_

    def predict_proba(self, rows: Any) -> Any:
        raise ValueError("no")

    predict = predict_proba


def test_a_job_is_refused_where_32_bits_do_not_tell_the_rows_apart(tmp_path: Path) -> None:
    rows = [replace(each, features={"cents": 2.0**30 + 50 * each.features["x"]}) for each in simple_rows(600)]
    stream = stream_with(lambda: dicts(HistGradientBoostingClassifier(max_iter=10, random_state=1)), onnx=True)
    with pytest.raises(CannotTrain, match=r"onnx=True: its graph answers .* or leave out onnx=True$"):
        trained(stream, records(rows), tmp_path)
    assert not (tmp_path / "graph.onnx").exists()


def test_a_graph_is_asked_once_for_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    form = RowForm.of("vector", ROWS, vector="v")
    estimator = LogisticRegression().fit(form.matrix(ROWS), LABELS)
    face, calls = wrap_graph(to_graph(estimator, form), estimator, "binary", form), []
    monkeypatch.setattr(GraphProcess, "run", _counted(GraphProcess.run, calls))
    face.ahead(ROWS)
    assert [face.predict(each).value for each in ROWS] == estimator.predict(form.matrix(ROWS)).tolist()
    assert len(calls) == 1


def _counted(run: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    def counted(*given: Any) -> Any:
        calls.append(1)
        return run(*given)

    return counted


def test_a_job_trains_tests_and_writes_the_graph(tmp_path: Path) -> None:
    log = records(simple_rows(600))
    result = trained(stream_with(lambda: dicts(HistGradientBoostingClassifier(max_iter=10)), onnx=True), log, tmp_path)
    graph = (tmp_path / "graph.onnx").read_bytes()
    estimator = loads_estimator((tmp_path / "estimator.skops").read_bytes(), cap_bytes=1 << 30)
    face = wrap_graph(graph, estimator, "binary", RowForm.from_json(result.form))
    assert fingerprint(face, result.probe) == result.probed
    assert fingerprint(wrap_estimator(estimator, "binary", RowForm("dicts")), result.probe) != result.probed
