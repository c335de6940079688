"""What roles remember of alerts, in a backup: it agrees with the restored records, whatever happened meanwhile."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from consumers.loop.alert_states import AlertStates
from consumers.monitor.rules.state import RulesState, RuleState
from consumers.notifier.offset_metadata import NotifierMetadata, TargetNote
from consumers.trainer.offset_metadata import TrainerMetadata, Working, Written
from millstream.backup.alert_memory import AlertMemory, Fitted, fitted
from millstream.backup.offset_preserving_writer import LogRecord
from schemas.alerts import Alert, AlertNote, read_alert_record

NOW = 1_700_000_100_000
FULL = {"rule": "f1 < 0.7", "value": "0.6"}


def alert(offset: int, name: str, state: Literal["raised", "cleared"] = "raised", **details: str) -> LogRecord:
    found = Alert(name, "warning", state, name, NOW - 60_000 + offset, details)
    return LogRecord(offset, found.at, name.encode(), found.encode(), [])


def note(offset: int, name: str, decision: Any, until: int | None = None) -> LogRecord:
    found = AlertNote(name, decision, "ann", "because", NOW, until)
    return LogRecord(offset, found.at, name.encode(), found.encode(), [])


def rules(**raised: int) -> str:
    state = RulesState({name: RuleState(raised=at, told=at, digest="d") for name, at in raised.items()})
    return msgspec.structs.replace(state, done={"rollback": [7]}, judged={"examples": 9}, began=5).encode()


def state_of(fit: Fitted) -> RulesState:
    return RulesState.decode(fit.rules)


def test_the_rules_remember_what_is_raised_and_when_they_acted() -> None:
    records = [alert(3, "monitor.f1", **FULL), alert(5, "monitor.drift", rule="drift")]
    fit = fitted(AlertMemory(rules(f1=100, drift=200)), records, NOW)
    assert fit == ([], rules(f1=100, drift=200), None, None)
    assert state_of(fit).done == {"rollback": [7]}


def test_an_alert_that_was_raised_or_cleared_while_the_backup_was_made() -> None:
    records = [alert(3, "monitor.f1", **FULL), alert(4, "monitor.f1", "cleared")]
    records.append(alert(5, "monitor.drift", rule="drift"))
    state = state_of(fitted(AlertMemory(rules(f1=100)), records, NOW))
    at = (NOW - 60_000) // 1000
    assert state.rules == {"drift": RuleState(raised=at, told=at)}
    assert (state.judged, state.began) == ({"examples": 9}, 5)


def test_the_trainer_keeps_its_slots_counts_and_alerts_but_not_what_it_was_at() -> None:
    was = TrainerMetadata(
        topic_id="old",
        slots={"gbdt": 5},
        written=Written("gbdt.1", "running", 1),
        working=Working("gbdt.1", "gbdt", 1, 7),
        trained=3,
        alerts=["trainer.failed.gone", "trainer.failed.gbdt"],
    )
    records = [alert(1, "trainer.failed.gbdt"), alert(2, "trainer.failed.net"), alert(3, "learner.memory")]
    fit = fitted(AlertMemory(trainer=was.encode()), records, NOW)
    assert [each.name for each in fit.cleared] == ["learner.memory"]
    wanted = TrainerMetadata(slots={"gbdt": 5}, trained=3, alerts=["trainer.failed.gbdt", "trainer.failed.net"])
    assert fit.trainer == wanted


def test_what_a_rule_is_about_to_raise_stays() -> None:
    waiting = RulesState({"f1": RuleState(since=50)}).encode()
    assert state_of(fitted(AlertMemory(waiting), [], NOW)).rules == {"f1": RuleState(since=50)}


@pytest.mark.parametrize("memory", [AlertMemory(), AlertMemory("{broken", "{broken", 3)])
def test_without_a_memory_the_alerts_of_rules_are_known_from_the_topic(memory: AlertMemory) -> None:
    fit = fitted(memory, [alert(1, "monitor.f1", **FULL), LogRecord(2, 0, None, b"alien", [])], NOW)
    assert ([*state_of(fit).rules], fit.notifier) == (["f1"], None)


def test_alerts_that_no_role_remembers_are_cleared_and_no_others() -> None:
    """A role begins without its memory; the rules and the notifier have theirs."""
    records = [
        alert(1, "learner.memory"),
        alert(2, "monitor.0.ends"),
        alert(3, "monitor.f1", **FULL),
        alert(4, "notifier.target.ops"),
        alert(5, "joiner.pending"),
        alert(6, "joiner.pending", "cleared"),
    ]
    notifier = NotifierMetadata(targets={"ops": TargetNote(7)}, alerts=["notifier.target.ops"])
    fit = fitted(AlertMemory("", notifier.encode(), 7), records, NOW)
    assert [(each.name, each.state, each.at) for each in fit.cleared] == [
        ("learner.memory", "cleared", NOW),
        ("monitor.0.ends", "cleared", NOW),
    ]
    states = AlertStates()
    for record in [*records, *(LogRecord(9, 0, b"", each.encode(), []) for each in fit.cleared)]:
        states.take(record.offset, read_alert_record(record.value or b""))
    assert [*states.raised] == ["monitor.f1", "notifier.target.ops"]
    assert [each.name for each in fitted(AlertMemory(), records, NOW).cleared][-1] == "notifier.target.ops"


def test_each_target_goes_on_behind_the_alert_that_it_had_got() -> None:
    """Markers of transactions have left holes between the records; the restored topic has none."""
    records = [alert(0, "monitor.a", **FULL), alert(2, "monitor.b", **FULL), note(5, "monitor.c", "silence", NOW * 2)]
    records += [alert(8, "monitor.c", **FULL), alert(11, "monitor.d", **FULL)]
    targets = {"ops": TargetNote(13, 0, 4, 1, 6, 2), "slow": TargetNote(3, NOW), "new": TargetNote(0)}
    before = NotifierMetadata("topic", 3, 1, targets, {"monitor.c": 8}, [])
    fit = fitted(AlertMemory("", before.encode(), 3), records, NOW).notifier
    assert fit is not None
    place, after = fit
    assert place == 2
    assert after.targets == {"ops": TargetNote(5, 0, 4, 1, 6, 2), "slow": TargetNote(2, NOW), "new": TargetNote(0)}
    assert after.withheld == {"monitor.c": 3}
    assert (after.topic_id, after.gone, after.begun) == ("", 0, 0)
