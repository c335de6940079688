"""A training done again, in another process with another environment, is equal to the last bit."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from batch_log import Row, record, records, simple_rows, stream_with, trained
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from consumers.model.row_form import RowForm
from consumers.trainer.training_messages import ESTIMATOR
from millstream.training.warm_start import Parent
from runtime.kafka_client.records import PlainRecord

WORDS: Final = ("rain", "sun", "snow", "wind", "fog", "hail")


def on_dicts(*steps: Any) -> Callable[[], Any]:
    return lambda: make_pipeline(DictVectorizer(sparse=False), *[step() for step in steps])


def on_a_frame() -> Any:
    columns = make_column_transformer(
        (StandardScaler(), ["x", "y"]),
        (OneHotEncoder(handle_unknown="ignore"), ["shop"]),
        (TfidfVectorizer(), "text"),
    )
    return make_pipeline(columns, LogisticRegression())


ESTIMATORS: Final[Mapping[str, tuple[Callable[[], Any], dict[str, Any]]]] = {
    "boosted": (on_dicts(lambda: HistGradientBoostingClassifier(max_iter=20, early_stopping=True)), {}),
    "forest": (on_dicts(lambda: RandomForestClassifier(10, n_jobs=4)), {}),
    "line": (on_dicts(StandardScaler, LogisticRegression), {}),
    "vectors": (on_dicts(StandardScaler, lambda: SVC(probability=True)), {}),
    "vectors without shares": (on_dicts(StandardScaler, LinearSVC), {}),
    "neighbours": (on_dicts(StandardScaler, KNeighborsClassifier), {}),
    "net": (on_dicts(StandardScaler, lambda: MLPClassifier((8,), max_iter=30, early_stopping=True)), {}),
    "gradient": (on_dicts(StandardScaler, lambda: SGDClassifier(loss="log_loss")), {}),
    "frame": (on_a_frame, {"rows": "frame"}),
    "searched": (
        on_dicts(StandardScaler, LogisticRegression),
        {"search": {"logisticregression__C": [0.01, 0.1, 1.0, 10.0]}, "candidates": 3},
    ),
    "sampled": (on_dicts(lambda: HistGradientBoostingClassifier(max_iter=10)), {"most": 300}),
    "refitted": (on_dicts(lambda: RandomForestClassifier(5)), {"final": "refit"}),
    "going on": (on_dicts(lambda: RandomForestClassifier(5)), {"warm_start": True}),
}
FEW: Final = ("line", "frame", "sampled")


def log() -> list[PlainRecord]:
    """Return a log with texts, weights, and corrections."""
    chance = random.Random(3)
    rows: list[Row] = [
        replace(
            row,
            features={
                **row.features,
                "shop": chance.choice("abc"),
                "text": " ".join(chance.choices(WORDS, k=4)),
                f"rare{chance.randrange(40)}": 1.0,
            },
            weight=chance.choice([0.5, 1.0, 2.0]),
        )
        for row in simple_rows(500)
    ]
    found = records(rows)
    for number in range(0, 500, 25):
        late = replace(rows[number], label=not rows[number].label, labelled_ms=rows[-1].labelled_ms + number)
        found.append(record(number, len(found), late, "correction"))
    return found


def results(names: str) -> dict[str, Any]:
    """Return what each training gives, as plain values."""
    found = {}
    for name in names.split(","):
        make, more = ESTIMATORS[name]
        stream = stream_with(make, **more)
        with tempfile.TemporaryDirectory() as folder:
            task: dict[str, Any] = {}
            if name == "going on":
                first = trained(stream, log()[:300], Path(folder))
                task["parent"] = Parent((Path(folder) / ESTIMATOR).read_bytes(), RowForm.from_json(first.form))
            result = trained(stream, log(), Path(folder), **task)
            again = trained(stream, log(), Path(folder), parameters=result.parameters, **task)
        assert again.probed == result.probed, name
        assert again.comparison == result.comparison, name
        assert result.tolerance == 0, name
        found[name] = msgspec.to_builtins(result)
    return found


def elsewhere(names: str, folder: Path, **environment: str) -> dict[str, Any]:
    """Return the results of a process with an environment of its own, in another folder."""
    code = f"import json, test_training_again as it; print(json.dumps(it.results({names!r})))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def insist_on_equal(names: str, folder: Path) -> None:
    first = elsewhere(names, folder, PYTHONHASHSEED="1", OMP_NUM_THREADS="1", TZ="UTC", LC_ALL="C")
    second = elsewhere(
        names, Path("/"), PYTHONHASHSEED="2", OMP_NUM_THREADS="4", OPENBLAS_NUM_THREADS="4", TZ="Asia/Tokyo",
        LC_ALL="C.UTF-8",
    )  # fmt: skip
    for name in names.split(","):
        assert first[name]["probed"] == second[name]["probed"], name
        assert first[name] == second[name], name


def test_a_training_in_another_environment_is_equal(tmp_path: Path) -> None:
    insist_on_equal(",".join(FEW), tmp_path)


@pytest.mark.full
def test_a_training_of_each_kind_in_another_environment_is_equal(tmp_path: Path) -> None:
    insist_on_equal(",".join(ESTIMATORS), tmp_path)


@pytest.mark.parametrize("size", [100, 30_000])
def test_there_is_a_probe_however_large_the_rows_are(size: int, tmp_path: Path) -> None:
    rows = [replace(row, features={**row.features, "text": "x" * size, "raw": b"\x00"}) for row in simple_rows(60)]
    make = lambda: make_pipeline(make_column_transformer((StandardScaler(), ["x", "y"])), LinearSVC())  # noqa: E731
    result = trained(stream_with(make, rows="frame"), records(rows), tmp_path)
    assert result.probe
    changed = [replace(row, features={**row.features, "x": row.features["y"]}) for row in rows]
    other = trained(stream_with(make, rows="frame"), records(changed), tmp_path)
    assert other.chain == result.chain, "the chain does not hold the features"
    assert other.comparison["answers"] != result.comparison["answers"], "the answers to all of the test part do differ"
