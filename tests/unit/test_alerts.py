"""Alerts: once when a cause begins, once when it has ended, and what is known of them after a start."""

from __future__ import annotations

from consumers.loop.alerts import MOST, Alerts, raised
from runtime.kafka_client.records import Output
from schemas.alerts import Alert, read_alert
from schemas.topics import Names

NAMES = Names("s")


def _read(outputs: list[Output]) -> list[Alert]:
    return [read_alert(output.value or b"") for output in outputs]


def test_a_cause_alerts_once_until_it_has_cleared() -> None:
    said: list[str] = []
    alerts = Alerts(NAMES, said.append)
    first = alerts.raise_("learner.memory", "critical", "the model is full", 5, {"bytes": "7"})
    assert alerts.raise_("learner.memory", "critical", "the model is full", 6) == []
    again = alerts.clear("learner.memory", 7)
    assert alerts.clear("learner.memory", 8) == []
    third = alerts.raise_("learner.memory", "warning", "again", 9)
    assert [output[:3] for output in (*first, *again)] == [("s.alerts", 0, b"learner.memory")] * 2
    assert _read([*first, *again, *third]) == [
        Alert("learner.memory", "critical", "raised", "the model is full", 5, {"bytes": "7"}),
        Alert("learner.memory", "info", "cleared", "it has cleared", 7, {}),
        Alert("learner.memory", "warning", "raised", "again", 9, {}),
    ]
    assert said == [
        "alert learner.memory (critical): the model is full",
        "alert learner.memory has cleared",
        "alert learner.memory (warning): again",
    ]


def test_after_a_start_what_was_raised_is_not_raised_again_and_can_clear() -> None:
    before = Alerts(NAMES, lambda line: None)
    before.raise_("a", "info", "", 1)
    before.raise_("b", "info", "", 1)
    after = Alerts(NAMES, lambda line: None)
    after.restore(before.remembered(), None, "no list", [7])
    assert after.raise_("a", "info", "", 2) == []
    assert len(after.clear("b", 2)) == 1
    assert after.remembered() == ["a"]
    assert "b" not in after


def test_what_is_remembered_is_bounded_and_by_its_beginning() -> None:
    alerts = Alerts(NAMES, lambda line: None)
    for number in range(MOST + 5):
        alerts.raise_(f"joiner.{number}", "info", "", 1)
    alerts.raise_("predictor.x", "info", "", 1)
    assert alerts.remembered() == [f"joiner.{number}" for number in range(MOST)]
    assert alerts.remembered("predictor.") == ["predictor.x"]


def test_those_stand_that_were_raised_and_not_cleared() -> None:
    def alert(name: str, state: str) -> Alert:
        return Alert(name, "info", state, "", 1, {})  # type: ignore[arg-type]

    told = [alert("a", "raised"), alert("b", "raised"), alert("a", "cleared"), alert("c", "cleared")]
    assert [each.name for each in raised(told)] == ["b"]
