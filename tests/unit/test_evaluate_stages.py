"""`millstream evaluate` of one model by stages: the report is the one that row by row gives, to the last digit."""

from __future__ import annotations

import csv
import datetime as dt
import random
from pathlib import Path
from typing import Any

import pytest

import millstream
from millstream.evaluation.stages import Stages
from millstream.evaluation.trial import Trial

BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
ROWS = 700
HEAD = """
from river import base, linear_model, preprocessing
from millstream import Feature, Labels, Stream

class Fragile(base.Classifier):
    def __init__(self): self.inner, self.asked = linear_model.LogisticRegression(), 0
    def predict_proba_one(self, x):
        self.asked += 1
        if x["x"] > 2.6: raise ValueError("asked too much")
        return self.inner.predict_proba_one(x)
    def learn_one(self, x, y):
        if x["x"] < -3.0: raise ValueError("told too much")
        self.inner.learn_one(x, y)

def logistic(): return preprocessing.StandardScaler() | linear_model.LogisticRegression()
"""
STREAMS = {
    "binary": 'task="binary", model=logistic',
    "fragile": 'task="binary", model=Fragile',
    "declared": 'task="binary", model=logistic, features={"x": Feature(minimum=-2.5), "z": Feature()}',
    "timeout": 'task="binary", model=logistic, labels=Labels(wait="1h", on_timeout=False)',
    "classes": 'task="multiclass", model=linear_model.SoftmaxRegression',
    "weighed": 'task="binary", model=logistic, weight=lambda x, y: 1.0 if x["x"] > -1.5 else -1.0',
    "regression": 'task="regression", model=lambda: preprocessing.StandardScaler() | linear_model.LinearRegression()',
}
CASES: list[tuple[str, str | None]] = [(kind, delay) for kind in STREAMS for delay in (None, "7")]
CASES += [("fragile", "30m"), ("classes", "30m"), ("declared", "1"), ("weighed", "600")]


def stream_file(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}_rows.py"
    path.write_text(f'{HEAD}\nstream = Stream(name="{kind}-rows", label="y", time="at", {STREAMS[kind]})\n')
    return path


@pytest.fixture
def rows_file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Rows with a few of everything: outliers, gaps, texts, no label, one that is none, minutes without a row."""
    kind, rng = request.param, random.Random(4)
    path, minute = tmp_path / "rows.csv", 0
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["at", "x", "z", "y"])
        for number in range(ROWS):
            minute += rng.choice([0, 1, 1, 9, 40 if number % 50 == 0 else 1])
            x: Any = rng.gauss(0, 1)
            label: Any = {"classes": rng.choice("abc"), "regression": x + rng.random()}.get(kind, int(x > rng.random()))
            z: Any = rng.choice([0.5, 1, 2.25, ""])
            if number > 100 and rng.random() < 0.02:
                x = rng.choice([1e12, 1e200, "", -1e9])
            if number > 100 and rng.random() < 0.02:
                label = rng.choice(["", "perhaps", "d", "17"])
            writer.writerow([(BEGIN + dt.timedelta(minutes=minute)).isoformat(), x, z, label])
    return path


@pytest.mark.parametrize(
    ("rows_file", "kind", "delay"), [(kind, kind, delay) for kind, delay in CASES], indirect=["rows_file"]
)
def test_by_stages_the_report_is_the_same_as_row_by_row(
    rows_file: Path, kind: str, delay: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stream_file(tmp_path, kind)
    taken: list[int] = []
    note = Stages._note

    def counted(stages: Stages, rows: Any, plain: Any, graded: Any) -> None:
        taken.append(len(graded))
        note(stages, rows, plain, graded)

    monkeypatch.setattr(Stages, "_note", counted)
    how: Any = {"on": rows_file, "label_delay": delay, "by": "z"}
    by_stages = millstream.evaluate(stream, **how).to_dict()
    assert sum(taken) > ROWS // 2
    monkeypatch.setattr(Trial, "learns_labels", False)
    many = len(taken)
    assert by_stages == millstream.evaluate(stream, **how).to_dict()
    assert len(taken) == many
    assert 0 < by_stages["measured"] < by_stages["rows"] or kind in ("binary", "timeout")
