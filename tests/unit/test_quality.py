"""Served metrics beside the baselines: from a version's report to the alert, the metric and the page."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from prometheus_client.registry import CollectorRegistry

from consumers.learner.alerts import WORSE, LearnerAlerts
from consumers.learner.offset_metadata import LearnerMetadata
from consumers.model.evaluation import Board, default_metrics
from consumers.model.quality import MetricBeside, Quality, quality
from consumers.model.river_model import Answer
from consumers.roles import LEARNER
from millstream.observability.prometheus.collector import RoleCollector
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.role_metrics import RoleMeter
from model_store import Manifest, VersionId
from schemas.alerts import read_alert
from schemas.target import Task
from schemas.topics import Names

WINDOW = 100


def report(task: Task, share_right: float, rows: int = 3 * WINDOW) -> dict[str, Any]:
    """Return the report of a board whose served answers are right in that share, stored as a manifest stores it."""
    board = Board(task, lambda: default_metrics(task), WINDOW)
    chance = random.Random(7)
    for row in range(rows):
        right = chance.random() < share_right
        if task == "regression":
            truth: Any = chance.gauss(10.0, 1.0)
            said: Any = truth if right else truth + 5.0
            shares = None
        else:
            truth = chance.random() < 0.5
            said = truth if right else not truth
            shares = {"true": 0.9 if said else 0.1, "false": 0.1 if said else 0.9}
        board.add(truth, Answer(said, None), (said, shares), (1000 * row, 1000 * row + 500))
    stored: dict[str, Any] = json.loads(json.dumps(board.report(), sort_keys=True))
    return stored


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_a_model_that_is_mostly_right_is_better_than_its_baselines_and_one_that_is_wrong_is_worse(task: Task) -> None:
    good, bad = quality(report(task, 0.95)), quality(report(task, 0.02))
    assert good is not None
    assert bad is not None
    assert (good.worse, bad.worse) == (False, True)
    assert [each.metric for each in good.metrics] == [type(each).__name__ for each in default_metrics(task)]
    assert set(good.metrics[0].baselines) == {"last_label", "running_mean" if task == "regression" else "frequencies"}
    assert "better than" in good.verdict
    assert "worse than" in bad.verdict


def test_before_the_window_is_full_of_served_answers_nothing_is_decided() -> None:
    few = quality(report("binary", 0.02, rows=WINDOW - 1))
    assert few is not None
    assert (few.labels, few.window, few.worse) == (WINDOW - 1, WINDOW, None)
    assert f"over {WINDOW - 1} labels only" in few.verdict


def test_nothing_is_compared_without_served_answers_or_in_older_versions() -> None:
    assert quality({}) is None
    board = Board("binary", lambda: default_metrics("binary"), WINDOW)
    for row in range(2 * WINDOW):
        board.add(bool(row % 2), Answer(True, None), None, None)  # imported: nobody was asked
    assert quality(board.report()) is None
    anomaly = Board("anomaly", lambda: default_metrics("anomaly"), WINDOW)
    anomaly.add(True, Answer(None, None), (0.5, None), None)
    assert quality(anomaly.report()) is None, "it has no baseline"
    before = report("binary", 0.9)
    del before["order"], before["in_window"]
    assert quality(before) is None


def test_a_lower_error_is_better_and_equal_is_not_worse() -> None:
    error = MetricBeside("MAE", 1.0, {"last_label": 2.0, "running_mean": 0.9}, higher=False)
    assert error.best == ("running_mean", 0.9)
    assert error.worse
    assert not MetricBeside("MAE", 0.9, {"running_mean": 0.9}, higher=False).worse
    assert not MetricBeside("Accuracy", 0.9, {"last_label": 0.9}).worse


def of(served: float, labels: int = WINDOW) -> Quality:
    return Quality(labels, WINDOW, (MetricBeside("Accuracy", served, {"last_label": 0.8, "frequencies": 0.5}),))


def test_the_alert_is_raised_once_names_both_and_clears_after_a_thousand_examples_without_it() -> None:
    said: list[str] = []
    alerts = LearnerAlerts(Names("fraud"), said.append)
    assert alerts.quality(None, 100, 1) == alerts.quality(of(0.9), 100, 1) == alerts.quality(of(0.5, 99), 100, 1) == []
    (raised,) = alerts.quality(of(0.7), 200, 2)
    found = read_alert(raised.value or b"")
    assert (found.name, found.severity) == (WORSE, "warning")
    assert "served Accuracy 0.7 worse than last label 0.8, over the newest 100 labels" in found.message
    assert found.details == {"metric": "Accuracy", "served": "0.7", "last_label": "0.8"}
    assert alerts.quality(of(0.7), 300, 3) == [], "once"
    assert alerts.passed(1299, 4) == []
    assert alerts.quality(of(0.81), 1299, 4) == []
    assert WORSE in alerts.remembered()
    (cleared,) = alerts.passed(1300, 5)
    assert read_alert(cleared.value or b"").state == "cleared"
    assert alerts.remembered() == []


def test_a_raised_alert_outlives_a_restart_and_clears_then() -> None:
    alerts = LearnerAlerts(Names("fraud"), lambda line: None)
    alerts.restore([WORSE], 500)
    assert alerts.passed(1499, 1) == []
    assert len(alerts.passed(1500, 2)) == 1


def test_it_rides_beside_the_offset_and_is_left_out_where_there_is_none() -> None:
    with_it = LearnerMetadata("1/200", quality=of(0.7))
    assert LearnerMetadata.decode(with_it.encode()) == with_it
    assert "quality" not in LearnerMetadata("1/200").encode()
    assert LearnerMetadata("1/200").quality is UNSET


@pytest.mark.parametrize(("right", "rows", "value"), [(0.95, 200, 0.0), (0.02, 200, 1.0), (0.02, 50, None)])
def test_prometheus_is_told_when_the_window_is_full(
    right: float, rows: int, value: float | None, tmp_path: Path
) -> None:
    meter = RoleMeter(Ends(tmp_path / "ends.json"))
    meter.names(Names("fraud"))
    meter.newest = Manifest(
        version=VersionId("fraud", 1, rows), topic_id="t", offset=0, examples=rows, chain="", fingerprint="",
        definition="", contract="", created_at_ms=1, metrics=report("binary", right, rows), libraries={}, files={},
    )  # fmt: skip
    registry = CollectorRegistry()
    registry.register(RoleCollector(meter, "fraud", LEARNER, "fraud.learner-0"))
    labels = {"stream": "fraud", "role": LEARNER}
    assert registry.get_sample_value("millstream_served_worse_than_baseline", labels) == value


def test_there_is_room_for_it_beside_the_offset_whatever_the_metrics_are_called() -> None:
    number = -1.23456789012345e-300
    names = [f"{'M' * 100}{each}" for each in range(50)]
    many: dict[str, Any] = {
        "order": [[name, True] for name in names],
        "window": 10**9,
        "in_window": {"served": 10**9},
        **{source: {"last": dict.fromkeys(names, number)} for source in ("served", "last_label", "frequencies")},
    }
    found = quality(many)
    assert found is not None
    alerts = [f"learner.{'a' * 56}"] * 16
    text = LearnerMetadata("999999/999999999", True, 10**12, 10**12, 10**12, True, alerts, 10**15, 10**15, found)
    assert len(text.encode()) < 4096
