"""A monitor with alert rules: each alert and each action once, whatever ends its process."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import pytest
from river import linear_model
from simulation.log import MemoryLog
from simulation.watching import NAMES, PREDICTIONS, World
from sklearn.linear_model import LogisticRegression

from consumers.model.models_topic_state import Known
from consumers.monitor.drift.judge import Judge
from consumers.monitor.judging import StreamJudging
from consumers.monitor.judging_protocol import Judging
from consumers.monitor.rules.decisions import Decisions, InForce
from consumers.monitor.rules.rules import Rules, RulesSettings
from millstream import BatchModel, Pause, Retrain, Rollback, Rule, Stream, Watch
from millstream.stream.alert_rules import evaluated
from millstream.stream.monitor_rules import drift_rules, window_rules
from model_store import VersionId
from schemas.alerts import read_alert
from schemas.jobs import read_job
from schemas.model_updates import Learning, RolledBack, read_model_update
from schemas.topics import PROFILES

STREAM = Stream(
    name="s",
    task="binary",
    model=linear_model.LogisticRegression,
    batch={"gbdt": BatchModel(LogisticRegression)},
    watch=Watch(window="1s", window_events=7),
    alerts=[
        Rule("errors > 20%", over="2s", least=5, hold="1s", do=[Pause(), Rollback(), Retrain("gbdt")]),
        Rule("errors > 0.9", over="1s", least=1, name="all-errors"),
        Rule("version_lag > 3s"),
    ],
)
PLACES = ("recovering", "polled", "processed", "before the commit", "between the log's commit and the local one")


class Kept:
    """A store with one version, from before everything."""

    def before(self, model: str, at_ms: int) -> VersionId | None:
        return VersionId(model, 1, 100)

    def keep(self, version: VersionId) -> None:
        """Keep it."""

    def answers_since(self, version: VersionId) -> int | None:
        return None


@dataclass
class Acting(World):
    """A stream that answers with errors for a while, and its monitor with rules."""

    def __post_init__(self) -> None:
        self.rules = window_rules(STREAM)
        kinds = ("examples", PROFILES, "alerts", "models", "decisions", "jobs")
        self.log = MemoryLog({PREDICTIONS: self.partitions} | {NAMES.topic(kind): 1 for kind in kinds})

    def in_force(self) -> InForce:
        """Return the decisions on the models topic, which the monitor follows."""
        decisions, known = Decisions(NAMES.model_ids), Known()
        for record in self.log.read(NAMES.topic("models")):
            known.take(record.key, record.value)
        decisions.follow(known)
        return decisions.now()

    def new_judging(self) -> Judging:
        settings = RulesSettings(NAMES, evaluated(STREAM.alerts), STREAM.watch.window_ms)
        rules = Rules(settings, self.in_force, Kept(), lambda windows: {}, self.said.append, lambda: self.log.now)
        return StreamJudging(NAMES, Judge(drift_rules(STREAM)), rules, self.said.append)

    def trouble(self) -> None:
        for failed in (False, True, False, True, False):
            self.predict(60, failed=failed)

    def stuck(self) -> None:
        for stuck in (False, True, False):
            self.predict(80, stuck=stuck)

    def told(self) -> dict[str, list[Any]]:
        """Return all that the rules have written, without the times of decisions."""
        alerts = [read_alert(each.value or b"") for each in self.log.read(NAMES.topic("alerts"))]
        updates = [read_model_update(each.value or b"").state for each in self.log.read(NAMES.topic("decisions"))]
        models = [read_model_update(each.value or b"").state for each in self.log.read(NAMES.topic("models"))]
        assert models == updates
        jobs = [read_job(each.value or b"") for each in self.log.read(NAMES.topic("jobs"))]
        return {
            "alerts": [(each.name, each.state, each.message) for each in alerts],
            "decisions": updates,
            "jobs": [(each.id, each.model, each.by) for each in jobs],
        }


def calm() -> dict[str, list[Any]]:
    world = Acting()
    world.trouble()
    world.work()
    return world.told()


def test_alerts_follow_the_errors_and_act_once() -> None:
    told = calm()
    assert [(name, state) for name, state, _ in told["alerts"] if name == "monitor.errors"] == [
        ("monitor.errors", "raised"),
        ("monitor.errors", "cleared"),
    ] * 2
    assert [type(each) for each in told["decisions"]] == [Learning, RolledBack]
    assert len(told["jobs"]) == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_crash_anywhere_changes_no_alert_and_no_action(place: str) -> None:
    expected = calm()
    for every in (3, 7):
        world, count = Acting(), itertools.count(1)
        world.trouble()
        world.work(lambda at, every=every, count=count: at == place and next(count) % every == 0)
        assert world.told() == expected, (place, every)


def test_a_predictor_that_stands_still_is_told_once_wherever_the_monitor_dies() -> None:
    world = Acting()
    world.stuck()
    world.work()
    expected = world.told()["alerts"]
    assert [(name, state) for name, state, _ in expected] == [
        ("monitor.version_lag", "raised"),
        ("monitor.version_lag", "cleared"),
    ]
    assert ": 3/0 alone answered s.features[1] for " in expected[0][2]
    for place in PLACES:
        world, count = Acting(), itertools.count(1)
        world.stuck()
        world.work(lambda at, place=place, count=count: at == place and next(count) % 5 == 0)
        assert world.told()["alerts"] == expected, place
