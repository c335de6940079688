"""A training on a log in memory: what it reads, how it splits, what it finds better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from batch_log import BEGIN_MS, STEP_MS, records, simple_rows, stream_with, trained
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from consumers.model.estimator_model import wrap_estimator
from consumers.model.fingerprint import fingerprint
from consumers.model.row_form import RowForm
from millstream.training.training import ESTIMATOR
from model_store.estimators import loads_estimator


def linear() -> Any:
    return make_pipeline(DictVectorizer(sparse=False), LogisticRegression())


def boosted() -> Any:
    return make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(max_iter=20, random_state=1))


def test_a_model_is_trained_tested_and_written_as_it_will_answer(tmp_path: Path) -> None:
    log = records(simple_rows(600))
    result = trained(stream_with(boosted), log, tmp_path)
    assert result.examples == 600 - 120 - 5  # a label that comes in the same millisecond as the test is too late
    assert result.left_out == {"tested": 120, "labelled too late": 5}
    assert result.better
    assert result.comparison["compared"]["events"] == 120
    estimator = loads_estimator((tmp_path / ESTIMATOR).read_bytes(), cap_bytes=1 << 30)
    face = wrap_estimator(estimator, "binary", RowForm.from_json(result.form))
    assert result.probe
    assert fingerprint(face, result.probe) == result.probed
    assert (result.labels_from_ms, result.labels_to_ms) == (
        BEGIN_MS + 5000,
        BEGIN_MS + 479 * STEP_MS,
    )


def test_equal_requests_give_equal_models(tmp_path: Path) -> None:
    log = records(simple_rows(300))
    first = trained(stream_with(boosted), log, tmp_path)
    assert trained(stream_with(boosted), log, tmp_path) == first
    other = trained(stream_with(boosted), log[:-1], tmp_path)
    assert other.chain != first.chain
    assert other.probed != first.probed
