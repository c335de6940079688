"""The model that `init` writes does not lose to a baseline on the rows it was shown, or it is said that it does."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from river import metrics, stats
from user_files import forgetful

from millstream.check.check import check
from millstream.cli.app import run
from millstream.scaffold.write_stream_file import init
from millstream.stream.load import load_stream
from producers.infer import infer

__all__ = ["forgetful"]

ID = 1234567890123456000


def table(folder: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    path = folder / "data.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


def depending(folder: Path, count: int) -> str:
    """Write a file whose columns say nearly the same: plain gradient descent diverges on them."""
    rng = random.Random(3)
    rows = []
    for _ in range(300):
        z = rng.gauss(0, 1)
        rows.append([*(z + rng.gauss(0, 0.1) for _ in range(count)), 100 + 20 * z + rng.gauss(0, 1)])
    return table(folder, [*(f"x{number}" for number in range(count)), "price"], rows)


def test_a_model_that_would_diverge_is_not_written(tmp_path: Path) -> None:
    source, said = depending(tmp_path, 250), list[str]()
    inferred = infer(source)
    path = init("mine", tmp_path, inferred, source, say=said.append)
    assert "intercept_lr=0.1)" in path.read_text()
    assert "optim.SGD(0.001)" in path.read_text()
    assert said[0].startswith("the model: mean absolute error ")
    model = load_stream(str(path)).fresh_model()
    ours, mean_of, mean = metrics.MAE(), metrics.MAE(), stats.Mean()
    for features, label in inferred.examples:
        assert isinstance(label, float)
        ours.update(label, model.predict_one(features))
        mean_of.update(label, mean.get())
        mean.update(label)
        model.learn_one(features, label)
    assert ours.get() < mean_of.get()
    assert f"{ours.get():.4g} on 300 rows; the mean of the labels: {mean_of.get():.4g}" in said[0]


@pytest.mark.parametrize(
    ("labels", "baseline", "model"),
    [
        ([1.5, 2.5, 3.25, 4.0], "the mean of the labels", "StatisticRegressor"),
        (["a", "b", "c"], "the frequencies of the classes", "PriorClassifier"),
    ],
)
def test_where_the_rows_say_nothing_the_baseline_is_written_and_said(
    tmp_path: Path, labels: list[object], baseline: str, model: str
) -> None:
    rng = random.Random(1)
    rows = [[*(rng.gauss(0, 1) for _ in range(40)), rng.choice(labels)] for _ in range(120)]
    source, said = table(tmp_path, [*(f"x{number}" for number in range(40)), "y"], rows), list[str]()
    path = init("mine", tmp_path, infer(source), source, say=said.append)
    assert said[0].startswith(f"no model beats {baseline} on the rows that were looked at")
    assert f"# This is the baseline, {baseline}" in path.read_text()
    loaded = load_stream(str(path))
    assert type(loaded.fresh_model()).__name__ == model
    assert check(loaded, place=source).errors == ()


def test_few_rows_try_nothing(tmp_path: Path) -> None:
    source, said = table(tmp_path, ["x", "y"], [[number, number % 2] for number in range(20)]), list[str]()
    init("mine", tmp_path, infer(source), source, say=said.append)
    assert said == []


def test_a_text_that_some_rows_lack_is_said_to_be_unused(tmp_path: Path) -> None:
    rows = [[f"word{n % 99} word{n % 98}" if n % 10 else "", n % 3, "abc"[n % 3]] for n in range(300)]
    source, said = table(tmp_path, ["text", "x", "label"], rows), list[str]()
    init("mine", tmp_path, infer(source), source, say=said.append)
    assert "text: the model does not use this text, as 30 rows have none: write a word there" in said


def test_texts_that_name_things_are_no_words(tmp_path: Path) -> None:
    rows = [[f"order-{n}", f"shop{n % 60}", f"good {n}", n % 2] for n in range(300)]
    inferred = infer(table(tmp_path, ["order", "shop", "text", "label"], rows))
    assert [column.name for column in inferred.columns] == ["shop", "text"]
    assert inferred.left_out["order"] == "what looks like ids, 300 different texts in 300 rows, such as 'order-0'"


def test_ids_are_no_quantities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[ID + n % 16, 2**64 + n, n, n % 7, f"2024-01-0{1 + n % 9}", n % 2] for n in range(80)]
    table(tmp_path, ["user", "hash", "customer_id", "shop_id", "event_day", "label"], rows)
    monkeypatch.chdir(tmp_path)
    assert run(["init", "mine", "--from", "data.csv"]) == 0
    said = capsys.readouterr().out
    assert f"note: user: left out, as it holds what looks like ids, 16 whole numbers such as {ID + 15}" in said
    assert "note: hash: left out, as it holds whole numbers beyond 64 bits" in said
    assert list(load_stream("mine.py").stream.features) == ["shop_id"]
    text = Path("mine.py").read_text()
    assert "# Left out: user (what looks like ids, 16 whole numbers" in text
