"""Limits of a training: it fails with an estimate and the way out before memory is full, and it reads with pauses."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_log import collected_from, records, simple_rows, stream_with, trained
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from consumers.model.row_form import RowForm
from millstream.estimators.fitting import CannotTrain, Recipe, Table
from millstream.estimators.trial import TRIAL_ROWS, try_fit
from millstream.stream.batch import BatchModel
from millstream.training.limits import Memory, held
from millstream.training.reading import collected, paced
from millstream.training.training import Task, train


class Hungry(RegressorMixin, BaseEstimator):
    """Holds a square of its rows, as a kernel machine does."""

    def fit(self, rows: Any, labels: Any) -> Hungry:
        self.mean_ = float(np.mean(np.ones((len(rows), 5000)) * np.mean(labels)))
        return self

    def predict(self, rows: Any) -> Any:
        return np.full(len(rows), self.mean_)


def never(why: str) -> None:
    raise AssertionError(why)


def test_what_a_row_costs_is_found_by_two_small_fits() -> None:
    rows = [{"x": float(n)} for n in range(TRIAL_ROWS)]
    table = Table(rows, np.arange(TRIAL_ROWS, dtype=np.float64), np.ones(TRIAL_ROWS))
    tried = try_fit(Recipe(Hungry, {}, 0), table, "regression", RowForm("dicts"), rows[:5])
    assert tried.bytes_a_row == pytest.approx(2 * 8 * 5000, rel=0.6)
    assert tried.tolerance == 0.0


def test_a_fit_that_would_not_fit_into_memory_fails_before_it_begins(tmp_path: Path) -> None:
    log = records([_numbered(row) for row in simple_rows(4000)])
    stream = stream_with(Hungry, task="regression")
    limit = Memory(held() + (100 << 20), never)
    quiet = lambda done, of, text: None  # noqa: E731
    with pytest.raises(
        CannotTrain, match=r"a fit on \d+ rows needs about .* and may hold .*: give it more \(memory=\)"
    ):
        train(Task(stream, tmp_path), collected_from(stream, log), limit, quiet)


def _numbered(row: Any) -> Any:
    return dataclasses.replace(row, label=row.features["x"])


def test_a_range_that_would_not_fit_into_memory_fails_while_it_is_read() -> None:
    """In a process of its own: one that has held more before takes nothing new from the system."""
    run = [sys.executable, "-c", "import test_training_limits as it; it.read_too_much()"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def read_too_much() -> None:
    stream = stream_with(LogisticRegression)
    assert isinstance(stream.model, BatchModel)
    log = records(simple_rows(25_000))
    pieces = (log[begin : begin + 500] for begin in range(0, len(log), 500))
    limit = Memory(held() + (64 << 20), never)
    with pytest.raises(CannotTrain, match="a range of 50000000 offsets needs about"):
        collected(stream, stream.model, pieces, 50_000_000, limit, lambda done, of, text: None)


def test_a_process_that_holds_too_much_is_told_so() -> None:
    said, told = list[str](), threading.Event()

    def end(why: str) -> None:
        said.append(why)
        told.set()

    memory = Memory(held() // 2, end)
    threading.Thread(target=memory._watch, daemon=True).start()
    assert told.wait(5)
    assert "fewer rows (most=, window=)" in said[0]


def test_reading_pauses_as_long_as_it_works() -> None:
    began = time.monotonic()
    worked = 0.0
    for _ in paced([[object()]] * 5):  # type: ignore[list-item]
        start = time.monotonic()
        while time.monotonic() - start < 0.01:
            pass
        worked += time.monotonic() - start
    assert time.monotonic() - began >= 1.8 * worked


@pytest.mark.full
def test_a_search_on_two_cores_finds_the_same_as_on_one(tmp_path: Path) -> None:
    log = records([_numbered(row) for row in simple_rows(300)])
    make = lambda: make_pipeline(DictVectorizer(sparse=False), Ridge())  # noqa: E731
    search = {"ridge__alpha": [1e-3, 1.0, 1e3]}
    one, two = (
        trained(stream_with(make, task="regression", search=search, cores=cores), log, tmp_path) for cores in (1, 2)
    )
    assert one == two
