"""Leaks: what reveals only labels that were still to come gains a training nothing, however they come."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_log import BEGIN_MS, STEP_MS, Row, imported, record, records, stream_with, trained
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from consumers.model.row_form import RowForm
from consumers.trainer.training_messages import ESTIMATOR
from millstream.training.warm_start import Parent
from runtime.kafka_client.records import PlainRecord

COUNT, LIFE, EVERY = 2000, 240, 12
TEST = 0.1
SEARCH = {"logisticregression__C": [1e-6, 100.0]}


def memory() -> Any:
    return make_pipeline(DictVectorizer(), LogisticRegression(C=100.0))


def lives(delay: Callable[[random.Random], int], seed: int = 3) -> list[Row]:
    """Return rows of customers, 20 at a time: each has one label, by chance, which comes after the last of its rows."""
    chance, rows = random.Random(seed), []
    labels = [chance.random() < 0.5 for _ in range(COUNT // EVERY + 1)]
    for number in range(COUNT):
        newest = number // EVERY
        who = chance.randint(max(0, newest - LIFE // EVERY + 1), newest)
        features: dict[str, Any] = {"who": f"c{who}", "noise": chance.random()}
        at, came = BEGIN_MS + number * STEP_MS, BEGIN_MS + (who * EVERY + LIFE + delay(chance)) * STEP_MS
        rows.append(Row(features, labels[who], at, came, chance.random() < 0.5))
    return rows


def at_once(rows: Sequence[Row]) -> list[Row]:
    return [replace(row, labelled_ms=row.predicted_ms) for row in rows]


def insist_on_a_leak(rows: Sequence[Row], folder: Path) -> None:
    """Insist that a split that did not look at when labels come would gain."""
    result = trained(stream_with(memory, test=TEST), records(at_once(rows)), folder)
    assert result.comparison["tested"]["loss"]["value"] < 0.4
    assert result.better


def insist_on_no_gain(log: Sequence[PlainRecord], folder: Path, **model: Any) -> None:
    result = trained(stream_with(memory, test=TEST, **model), log, folder)
    assert result.comparison["tested"]["loss"]["value"] > 0.33, "a half is chance"
    assert result.better is False
    assert all(sum(row["folds"]) / len(row["folds"]) < 0.65 for row in result.table)


@pytest.mark.parametrize(
    "delay",
    [
        lambda chance: 0,
        lambda chance: chance.randrange(0, 200),
        lambda chance: 500,
        lambda chance: round(20 * chance.paretovariate(1.2)),
    ],
    ids=["none", "between", "long", "with a long tail"],
)
def test_labels_that_come_when_a_customer_has_gone_reveal_nothing(
    delay: Callable[[random.Random], int], tmp_path: Path
) -> None:
    rows = lives(delay)
    insist_on_a_leak(rows, tmp_path)
    insist_on_no_gain(records(rows), tmp_path)


def test_a_sample_of_the_rows_reveals_nothing_either(tmp_path: Path) -> None:
    rows = lives(lambda chance: chance.randrange(0, 100))
    insist_on_no_gain(records(rows), tmp_path, most=1200, search=SEARCH, score="accuracy")


def test_corrections_that_come_late_reveal_nothing(tmp_path: Path) -> None:
    """First labels are chance; what is true comes at the end of the range, for all of it."""
    chance = random.Random(5)
    rows = [replace(row, features={"truth": float(row.label), **row.features}) for row in lives(lambda _: 0)]
    rows = at_once(rows)
    insist_on_a_leak(rows, tmp_path)
    log = records([replace(row, label=chance.random() < 0.5) for row in rows])
    end = log[-1].timestamp + STEP_MS
    for number, row in enumerate(rows):
        log.append(record(number, len(log), replace(row, labelled_ms=end + number), "correction"))
    stream = stream_with(lambda: make_pipeline(DictVectorizer(sparse=False), LogisticRegression()))
    result = trained(stream, log, tmp_path)
    assert result.left_out["correction"] == COUNT
    # It may have the truth's weight by chance, with either sign: so neither is better with the whole interval.
    served = result.comparison["compared"]["served_loss"]["value"]
    assert abs(served - 0.5) < 0.06
    assert result.comparison["tested"]["loss"]["value"] > 0.2, "of ten seeds none has learned it"


def test_rows_that_are_uploaded_with_the_labels_of_asked_events_reveal_nothing(tmp_path: Path) -> None:
    """Each event's features are uploaded with its label, after the event was asked: as from an export of the log."""
    rows = lives(lambda chance: 0)
    log = records(rows)
    uploaded = [imported(number, 0, row.features, row.label, row.labelled_ms) for number, row in enumerate(rows)]
    log = sorted([*log, *uploaded], key=lambda each: each.timestamp)
    log = [PlainRecord(each.topic, 0, place, each.timestamp, None, each.value) for place, each in enumerate(log)]
    result = trained(stream_with(memory, test=TEST), log, tmp_path)
    compared = result.comparison["compared"]
    assert compared["events"] > 100, "asked events are compared"
    assert compared["loss"]["value"] > 0.33
    assert result.better is False


def forest(**more: Any) -> Any:
    return make_pipeline(DictVectorizer(sparse=False), RandomForestClassifier(10, random_state=1, **more))


def test_a_version_that_goes_on_is_not_tested_with_what_the_one_before_it_has_learned(tmp_path: Path) -> None:
    """The one before was fitted again on all rows, and knows them by heart; the labels are chance."""
    chance = random.Random(7)
    rows = [
        Row({"x": chance.random()}, chance.random() < 0.5, at, at + STEP_MS, chance.random() < 0.5)
        for at in range(BEGIN_MS, BEGIN_MS + COUNT * STEP_MS, STEP_MS)
    ]
    log, begun = records(rows), COUNT - 100
    stream = stream_with(forest, final="refit", warm_start=True)
    first = trained(stream, log[:begun], tmp_path)
    data, form = (tmp_path / ESTIMATOR).read_bytes(), RowForm.from_json(first.form)
    naive = trained(stream, log, tmp_path, parent=Parent(data, form))
    assert naive.comparison["tested"]["loss"]["value"] < 0.4, "it knows three in four"
    assert naive.better
    parent = Parent(data, form, lambda offset, asked_ms, came_ms: offset < begun)
    honest = trained(stream, log, tmp_path, parent=parent)
    assert honest.comparison["tested"]["events"] == 100
    assert honest.comparison["tested"]["loss"]["value"] > 0.4
    assert not honest.better
