"""`millstream check` of batch models: what it says of seeds, weights, searches, fits and files."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest

from millstream.check.check import check
from millstream.check.findings import Finding
from millstream.estimators import extras
from millstream.stream.load import load_stream

HEAD = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.kernel_approximation import Nystroem
from river import linear_model
from millstream import BatchModel, Stream

SOURCE = "river:Phishing"
SHARED = LogisticRegression()

class Moody(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self
    def predict(self, X):
        return np.full(len(X), True)

def of(estimator):
    return make_pipeline(DictVectorizer(sparse=False), estimator)
"""
STREAM = """
stream = Stream(
    name="mine", task="binary", label="is_phishing", model=linear_model.LogisticRegression, {more}
    batch={{"other": BatchModel({model})}})
"""
CASES = [
    ("lambda: of(LogisticRegression())", "warning", "seeds", "no seed: logisticregression__random_state"),
    ("lambda: of(LogisticRegression())", "ok", "builds", "two fits answer the same to the last bit"),
    ("lambda: of(LogisticRegression())", "ok", "weight", "given to fit as logisticregression__sample_weight"),
    ("lambda: of(KNeighborsClassifier())", "error", "weight", "fit takes no sample_weight"),
    ("lambda: of(LogisticRegression()), search={'C': [1.0]}", "error", "search", "it has logisticregression__C"),
    ("lambda: of(LogisticRegression()), score='good'", "error", "search", "score='good' is no scorer"),
    ("lambda: SHARED", "error", "builds", "make returns the same object each time"),
    ("lambda: of(Moody())", "error", "saves", "Moody"),
    ("lambda: LogisticRegression()", "error", "events", "cannot be fitted"),
]


GRAPHS = [
    ("lambda: of(LogisticRegression()), onnx=True", "ok", "onnx", "the same answers within 0.0001"),
    ("lambda: of(make_pipeline(Nystroem(random_state=1), LogisticRegression())), onnx=True", "error", "onnx",
     "no converter for pipeline__nystroem (Nystroem): take another step instead, or leave out onnx"),
    ("LogisticRegression, rows='frame', onnx=True", "error", "onnx", "begin with one, or leave out onnx=True"),
]  # fmt: skip


def findings(model: str, folder: Path) -> list[Finding]:
    file = folder / "mine.py"
    file.write_text(HEAD + STREAM.format(model=model, more="weight={True: 2.0},"))
    return [each for each in check(load_stream(str(file)), 100).findings if each.text.startswith("model other: ")]


@pytest.mark.parametrize(("model", "severity", "about", "text"), [*CASES, *GRAPHS])
def test_findings(model: str, severity: str, about: str, text: str, tmp_path: Path) -> None:
    if about == "onnx":
        pytest.importorskip("onnxruntime")
    found = findings(model, tmp_path)
    assert [each for each in found if (each.severity, each.about) == (severity, about) and text in each.text], found


@pytest.mark.parametrize(
    ("key", "missing", "said"),
    [
        ("onnx=True", ("onnx", "onnxruntime", "skl2onnx"),
         "onnx=True needs onnx, onnxruntime, skl2onnx, which are not installed here: pip install 'millstream[onnx]'"),
        ("onnx=True", ("skl2onnx",), "onnx=True needs skl2onnx, which is not installed here"),
        ("cluster='dask://127.0.0.1:8786'", ("distributed",),
         "cluster='dask://…' needs distributed, which is not installed here: pip install 'millstream[dask]'"),
        ("cluster='ray://127.0.0.1:10001'", ("ray",),
         "cluster='ray://…' needs ray, which is not installed here: pip install 'millstream[ray]'"),
    ],
)  # fmt: skip
def test_an_extra_that_is_missing_is_an_error_that_says_what_to_install(
    key: str, missing: Sequence[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = importlib.util.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in missing else installed(name) or object())
    found = findings(f"lambda: of(LogisticRegression()), {key}", tmp_path)
    errors = [each.text for each in found if each.severity == "error"]
    assert len(errors) == 1
    assert errors[0].startswith(f"model other: {said}")
    assert not [each for each in found if each.about == "onnx"], "nothing is converted"
