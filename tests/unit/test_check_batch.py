"""`millstream check` of batch models: what it says of seeds, weights, searches, fits and files."""

from __future__ import annotations

from pathlib import Path

import pytest

from millstream.check.check import check
from millstream.stream.load import load_stream

HEAD = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
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


@pytest.mark.parametrize(("model", "severity", "about", "text"), CASES)
def test_findings(model: str, severity: str, about: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(HEAD + STREAM.format(model=model, more="weight={True: 2.0},"))
    found = [each for each in check(load_stream(str(file)), 100).findings if each.text.startswith("model other: ")]
    assert [each for each in found if (each.severity, each.about) == (severity, about) and text in each.text], found
