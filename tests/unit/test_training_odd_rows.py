"""Odd rows: a training takes what can be learned, and says in a line why it can learn nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_log import Row, records, simple_rows, stream_with, trained
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from millstream.estimators.fitting import CannotTrain


def dense() -> Any:
    return make_pipeline(DictVectorizer(sparse=False), LogisticRegression(random_state=1))


def sparse() -> Any:
    return make_pipeline(DictVectorizer(), LogisticRegression(random_state=1))


def boosted() -> Any:
    return make_pipeline(DictVectorizer(sparse=False), HistGradientBoostingClassifier(max_iter=5, random_state=1))


def with_features(rows: list[Row], **more: Any) -> list[Row]:
    return [replace(row, features={**row.features, **more}) for row in rows]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([], "there are 0 examples with a label to train on .*window=[)]$"),
        (with_features(simple_rows(100), x=math.inf), "there are 0 examples .*; left out, by reason: infinite 100"),
        ([replace(row, label="maybe") for row in simple_rows(100)], "there are 0 .*; left out, by reason: label 100"),
        (
            [replace(row, label=False) for row in simple_rows(100)],
            "the label False: a classifier needs two classes",
        ),
    ],
    ids=["none", "all infinite", "no labels", "one class"],
)
def test_rows_of_which_nothing_can_be_learned(rows: list[Row], why: str, tmp_path: Path) -> None:
    with pytest.raises(CannotTrain, match=why):
        trained(stream_with(dense), records(rows), tmp_path)


@pytest.mark.parametrize("more", [{"z": math.nan}, {"z": 1e300}, {"z": [1e300, -1e300]}, {"z": None}], ids=str)
def test_values_that_trees_take(more: dict[str, Any], tmp_path: Path) -> None:
    rows = [*simple_rows(100)[:50], *with_features(simple_rows(100)[50:], **more)]
    assert trained(stream_with(boosted), records(rows), tmp_path).examples == 75


@pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered")
def test_numbers_too_large_to_square_are_an_error_of_the_fit_or_of_the_score(tmp_path: Path) -> None:
    rows = [replace(row, label=1e300 * (1 + row.features["x"]), served=0.0, shares=None) for row in simple_rows(200)]
    make = lambda: make_pipeline(DictVectorizer(sparse=False), Ridge())  # noqa: E731
    search = {"ridge__alpha": [0.1, 1.0]}
    with pytest.raises(CannotTrain, match="no candidate of the search can be fitted; the first: its score is -inf"):
        trained(stream_with(make, task="regression", search=search, candidates=2), records(rows), tmp_path)
    result = trained(stream_with(make, task="regression"), records(rows), tmp_path)
    assert result.comparison["tested"]["loss"]["value"] is not None


def test_a_category_that_comes_only_in_the_test_part(tmp_path: Path) -> None:
    rows = [
        replace(row, features={**row.features, "shop": "new" if n > 180 else "ab"[n % 2]})
        for n, row in enumerate(simple_rows(200))
    ]

    def frame(unknown: str) -> Any:
        columns = make_column_transformer((OneHotEncoder(handle_unknown=unknown), ["shop"]), remainder="passthrough")
        return make_pipeline(columns, LogisticRegression(random_state=1))

    taken = trained(stream_with(lambda: frame("ignore"), rows="frame"), records(rows), tmp_path)
    assert taken.comparison["tested"]["loss"]["value"] < 0.5
    refused = trained(stream_with(lambda: frame("error"), rows="frame"), records(rows), tmp_path)
    assert refused.comparison["tested"]["loss"]["value"] > taken.comparison["tested"]["loss"]["value"]
    assert refused.better is False, "an event without an answer counts as wrong"


def test_ten_thousand_numbers_in_a_row(tmp_path: Path) -> None:
    rows = [replace(row, features={"v": [row.features["x"], *map(float, range(9_999))]}) for row in simple_rows(60)]
    make = lambda: LogisticRegression(random_state=1)  # noqa: E731
    result = trained(stream_with(make, rows="vector", stream={"features": {"v": "vector"}}), records(rows), tmp_path)
    assert result.examples > 30
    assert len(result.probe) == 1


def test_a_row_with_many_features_among_small_ones(tmp_path: Path) -> None:
    rows = simple_rows(100)
    rows[40] = replace(rows[40], features={**rows[40].features, **{f"f{n}": float(n) for n in range(900)}})
    result = trained(stream_with(sparse), records(rows), tmp_path)
    assert (result.examples, len(result.probe)) == (75, 8)
    rows[40] = replace(rows[40], features={**rows[40].features, **{f"f{n}": float(n) for n in range(30_000)}})
    assert trained(stream_with(sparse), records(rows), tmp_path).left_out["size"] == 1
