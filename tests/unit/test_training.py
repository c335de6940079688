"""A training on a log in memory: what it reads, how it splits, what it finds better."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_log import (
    BEGIN_MS,
    STEP_MS,
    Row,
    collected_from,
    imported,
    record,
    records,
    simple_rows,
    stream_with,
    trained,
)
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from consumers.model.estimator_model import wrap_estimator
from consumers.model.fingerprint import fingerprint
from consumers.model.row_form import RowForm
from consumers.trainer.training_messages import ESTIMATOR
from millstream.estimators.declared_form import form_of
from millstream.estimators.fitting import CannotTrain
from millstream.training.searching import Search, one_by_one
from millstream.training.splitting import newest_apart
from millstream.training.tables import Tables
from model_store.estimators import loads_estimator
from runtime.kafka_client.records import PlainRecord


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


def test_a_search_chooses_by_folds_in_time_and_a_verified_retrain_is_equal(tmp_path: Path) -> None:
    name = "histgradientboostingclassifier__"
    search = {f"{name}max_leaf_nodes": [2, 15], f"{name}learning_rate": [0.001, 0.1], f"{name}l2_regularization": [0.0]}
    stream, log = stream_with(boosted, search=search, candidates=9, seed=7), records(simple_rows(600))
    result = trained(stream, log, tmp_path)
    assert result.parameters[f"{name}learning_rate"] == 0.1
    assert [(row["rung"], row["rows"]) for row in result.table] == [(0, 158)] * 4 + [(1, 475)] * 2
    assert all(len(row["folds"]) == 3 for row in result.table)
    assert trained(stream, log, tmp_path, parameters=result.parameters).probed == result.probed


def in_sessions(count: int, length: int) -> list[Row]:
    """Return rows in sessions, all of whose labels are equal and come two sessions after it; half of them are true."""
    chance, found = random.Random(3), []
    first = False
    for session in range(count // length):
        first = first if session % 2 else chance.random() < 0.5
        label, end = first != bool(session % 2), BEGIN_MS + (session + 3) * length * STEP_MS
        for number in range(session * length, (session + 1) * length):
            at = BEGIN_MS + number * STEP_MS
            found.append(Row({"session": f"s{session}", "noise": chance.random()}, label, at, end, False))
    return found


def test_a_feature_that_reveals_only_labels_still_to_come_gains_nothing(tmp_path: Path) -> None:
    rows = in_sessions(2000, 20)
    make = lambda: make_pipeline(DictVectorizer(), LogisticRegression(C=100.0))  # noqa: E731
    # With labels at once, the session that the split falls into is known: the feature does reveal its label.
    features, labels = [row.features for row in rows], [row.label for row in rows]
    naive = cross_val_score(make(), features, labels, cv=KFold(5, shuffle=True))
    assert naive.mean() > 0.99
    search = {"logisticregression__C": [1e-6, 100.0]}
    result = trained(stream_with(make, search=search, score="accuracy"), records(rows), tmp_path)
    assert result.left_out["labelled too late"] > 20
    assert result.comparison["tested"]["loss"]["value"] > 0.45
    assert all(score < 0.6 for row in result.table for score in row["folds"])
    assert result.better is False


def test_a_worse_model_is_not_better_and_an_equal_one_is_neither(tmp_path: Path) -> None:
    rows = [replace(row, served=row.label) for row in simple_rows(400)]
    worse = trained(stream_with(boosted), records(rows), tmp_path)
    assert worse.better is False
    assert worse.comparison["compared"]["gain"]["high"] < 0


def test_the_last_correction_counts_but_not_before_it_came(tmp_path: Path) -> None:
    rows = simple_rows(200)
    log = records(rows)
    early, late = rows[10].predicted_ms + 20_000, rows[-1].labelled_ms + 1000
    for place, (number, at) in enumerate(((0, early), (1, late), (195, late)), len(log)):
        log.append(record(number, place, replace(rows[number], label="no", labelled_ms=at), "correction"))
    examples = collected_from(stream_with(boosted), log).examples
    split = newest_apart(examples, 0.2)
    assert [len(examples.corrections[each]) for each in (0, 1, 195)] == [1, 1, 1]
    assert [examples.known_at([each], split.moment)[0] != [rows[each].label] for each in (0, 1)] == [
        rows[0].label,
        False,
    ]
    assert examples.known_at([1, 195], None)[0] == [False, False]


def test_what_live_learning_refuses_is_left_out_and_counted(tmp_path: Path) -> None:
    rows = simple_rows(100)
    log = records([*rows, replace(rows[-1], features={"x": math.inf, "y": 1.0}), replace(rows[-1], label="maybe")])
    log.append(log[-3])  # the lane repeats an example
    log.append(PlainRecord("mine.examples", 0, len(log), 0, None, b"no example"))
    collector = collected_from(stream_with(boosted), log)
    assert len(collector.examples) == 100
    assert dict(collector.left_out) == {"infinite": 1, "label": 1, "repeat": 1, "unreadable": 1}
    assert collector.skipped == [100, 101]


def test_a_sample_is_seeded_and_keeps_the_order(tmp_path: Path) -> None:
    log = records(simple_rows(1000))
    first, second = (collected_from(stream_with(boosted, most=100, seed=seed), log) for seed in (1, 2))
    again = collected_from(stream_with(boosted, most=100, seed=1), log)
    assert len(first.examples) == 100
    assert first.left_out == {"beyond most=": 900}
    assert first.chain == second.chain
    assert first.examples == again.examples
    assert first.examples.offsets != second.examples.offsets
    placed = first.examples.in_time()
    assert sorted(first.examples.offsets) == [first.examples.offsets[each] for each in placed]
    assert max(first.examples.offsets) > 900


def test_uploaded_examples_are_split_in_their_order(tmp_path: Path) -> None:
    log = [imported(n, n, row.features, row.label, BEGIN_MS) for n, row in enumerate(simple_rows(200))]
    result = trained(stream_with(boosted), log, tmp_path)
    assert (result.examples, result.left_out) == (160, {"tested": 40})
    assert result.better is None
    assert result.comparison["compared"] is None


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks(task: Any, tmp_path: Path) -> None:
    rows = simple_rows(400)
    if task == "multiclass":
        make, expected = boosted, {0, 1, "odd"}
        labels = ["odd" if n % 7 == 0 else int(row.label) for n, row in enumerate(rows)]
    else:
        make, expected = (lambda: make_pipeline(DictVectorizer(sparse=False), Ridge())), set()
        labels = [2 * row.features["x"] for row in rows]
    log = records(replace(row, label=label, served=9, shares=None) for row, label in zip(rows, labels, strict=True))
    result = trained(stream_with(make, task=task), log, tmp_path)
    assert result.better
    assert set(result.form["classes"]) == expected


def test_weights_reach_the_estimator(tmp_path: Path) -> None:
    rows = simple_rows(300)
    heavy = [replace(row, weight=50.0 if row.label else 1.0) for row in rows]
    plain, weighted = (trained(stream_with(linear), records(each), tmp_path) for each in (rows, heavy))
    assert plain.probed != weighted.probed
    assert plain.notes == weighted.notes == ["parts without a seed were given seed=0: logisticregression__random_state"]
    neighbours = lambda: make_pipeline(DictVectorizer(sparse=False), KNeighborsClassifier())  # noqa: E731
    assert trained(stream_with(neighbours), records(heavy), tmp_path).notes == [
        "the labels have weights, and the estimator takes none: they were not used"
    ]


def test_slices_are_compared_by_the_features_of_the_event(tmp_path: Path) -> None:
    rows = [replace(row, features={**row.features, "shop": "ab"[n % 2]}) for n, row in enumerate(simple_rows(400))]
    stream = stream_with(boosted, sees=["x", "y"], stream={"slices": {"shop": "shop"}})
    result = trained(stream, records(rows), tmp_path)
    assert [(each["slice"], each["events"]) for each in result.comparison["slices"]] == [
        ("shop: a", 40),
        ("shop: b", 40),
    ]
    assert {"loss", "gain", "metrics", "served_metrics", "served_loss"} <= result.comparison["slices"][0].keys()


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (simple_rows(12), "at least 20 are needed"),
        ([replace(row, label=True) for row in simple_rows(60)], "have the label True: a classifier needs two"),
        (simple_rows(60, delay_ms=3_600_000), "labels come too late for this range"),
    ],
)
def test_a_training_that_would_fail_again_says_why(rows: list[Row], why: str, tmp_path: Path) -> None:
    with pytest.raises(CannotTrain, match=why):
        trained(stream_with(boosted), records(rows), tmp_path)


def test_a_refit_has_learned_all_and_is_marked(tmp_path: Path) -> None:
    log = records(simple_rows(300))
    tested, refit = (trained(stream_with(boosted, final=final), log, tmp_path) for final in ("tested", "refit"))
    assert (tested.refit, refit.refit, refit.examples, refit.left_out) == (False, True, 300, {})
    assert refit.comparison == tested.comparison
    assert refit.probed != tested.probed


def test_the_smallest_rung_holds_a_rare_class(tmp_path: Path) -> None:
    rows = simple_rows(600)
    labels = ["rare" if n in (5, 250, 420) else str(row.label) for n, row in enumerate(rows)]
    log = records(replace(row, label=label, served="x") for row, label in zip(rows, labels, strict=True))
    search = {"histgradientboostingclassifier__max_leaf_nodes": [2, 3, 7, 15]}
    stream = stream_with(boosted, task="multiclass", search=search)
    collector = collected_from(stream, log)
    split = newest_apart(collector.examples, 0.2)
    form = form_of(stream, collector.examples.features, ())
    tables = Tables(collector.examples, split.train, "multiclass", form)
    search_of = Search(stream.model, collector.examples, split, tables)  # type: ignore[arg-type]
    smallest = search_of._train[search_of._order[: len(split.train) // 3]]
    assert {collector.examples.labels[each] for each in smallest} == {"rare", "True", "False"}
    assert trained(stream, log, tmp_path).table[0]["rows"] == len(split.train) // 3


def test_a_search_says_what_it_does_before_its_first_fit() -> None:
    stream = stream_with(linear, search={"logisticregression__C": [0.1, 1.0]}, candidates=2)
    collector, told = collected_from(stream, records(simple_rows(300))), list[str]()
    split = newest_apart(collector.examples, 0.2)
    tables = Tables(collector.examples, split.train, "binary", form_of(stream, collector.examples.features, ()))

    def runs(fits: Any) -> Any:
        assert told == ["0: search: 2 candidates on 235 rows"], "the first fits may take hours"
        return one_by_one(fits)

    search = Search(stream.model, collector.examples, split, tables, runs)  # type: ignore[arg-type]
    search.run(lambda done, of, text: told.append(f"{done}: {text}"))
    assert len(told) > 1
