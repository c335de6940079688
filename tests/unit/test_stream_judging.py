"""Rules on windows that a real judge judges, where the topics of a stream are not read at the same pace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from consumers.monitor.drift.judge import Judge
from consumers.monitor.drift.rules import DriftRules, Trailing
from consumers.monitor.judging import StreamJudging
from consumers.monitor.rules.decisions import Decisions
from consumers.monitor.rules.rules import Rules, RulesSettings
from consumers.monitor.rules.values import Measured
from consumers.monitor.windows import EXAMPLES, PREDICTIONS
from millstream.stream.alert_rules import Pause, Rule, evaluated
from model_store import VersionId
from schemas.alerts import Alert, read_alert
from schemas.profiles import DAY_MS, HOUR_MS, Window
from schemas.topics import Names

NAMES: Final = Names("s")
T0: Final = 20_000 * DAY_MS
WINDOW_MS: Final = HOUR_MS // 12
LOW: Final = Rule("f1 < 0.7", over="1h", least=1, hold="15m", do=[Pause()])
BAD: Final = range(24, 36)
"""Numbers of the windows whose answers are bad: the third hour."""


class NoVersions:
    """A store without versions."""

    def before(self, model: str, at_ms: int) -> VersionId | None:
        return None

    def keep(self, version: VersionId) -> None:
        raise AssertionError(version)

    def answers_since(self, version: VersionId) -> int | None:
        return None


class Stream:
    """A stream's judging; its windows are numbered from `T0`."""

    def __init__(self) -> None:
        self.hours = 0.0
        judge = Judge(DriftRules(WINDOW_MS, 1 / (30 * DAY_MS), Trailing(7 * DAY_MS)))
        settings = RulesSettings(NAMES, evaluated([LOW]), WINDOW_MS)
        rules = Rules(settings, Decisions(NAMES.model_ids).now, NoVersions(), _f1, lambda _: None, self._now)
        self.judging = StreamJudging(NAMES, judge, rules, lambda _: None)

    def _now(self) -> int:
        return T0 + round(self.hours * HOUR_MS)

    def take(self, kind: str, numbers: Sequence[int]) -> list[Alert]:
        """Take the windows of a kind with these numbers; return the alerts that are sent."""
        sent = [output for number in numbers for output in self.judging.take(_window(kind, number))]
        return [read_alert(each.value or b"") for each in sent if each.topic == "s.alerts"]


def _window(kind: str, number: int) -> Window:
    start = T0 + number * WINDOW_MS
    return Window(
        kind=kind,
        topic=f"s.{kind}",
        partition=0,
        first_offset=number,
        next_offset=number + 1,
        start=start,
        span=WINDOW_MS,
        first_time=start,
        last_time=start,
        events=1,
        errors={},
        profiles={},
        left_out=0,
        pairs=None,
        served=[],
    )


def _f1(windows: Sequence[Window]) -> Mapping[str, Measured]:
    """Return 0.9 for good windows and 0.4 for bad ones, and what lies between for several."""
    labelled = [(each.start - T0) // WINDOW_MS for each in windows if each.kind == EXAMPLES]
    if not labelled:
        return {}
    bad = sum(number in BAD for number in labelled)
    return {"f1": Measured(0.9 - 0.5 * bad / len(labelled), len(labelled))}


def test_labels_that_are_read_after_all_predictions_are_judged_at_their_own_time() -> None:
    stream = Stream()
    for number in range(6):
        stream.hours = (number + 1) / 12
        assert stream.take(PREDICTIONS, [number]) == stream.take(EXAMPLES, [number]) == []
    stream.hours = 6  # after an outage
    assert stream.take(PREDICTIONS, range(6, 72)) == []
    raised, cleared = stream.take(EXAMPLES, range(6, 72))
    assert (raised.state, cleared.state) == ("raised", "cleared")
    # The fifth bad window brings the hour below 0.7.
    assert raised.details["since_ms"] == str(T0 + (BAD.start + 5) * WINDOW_MS - HOUR_MS)
    assert raised.details["action.pause"] == "not done: the window was judged 3 h late"


def test_a_new_monitor_raises_no_alert_about_labels_from_before_it_began() -> None:
    stream = Stream()
    stream.hours = 6
    assert stream.take(PREDICTIONS, range(72)) == []
    assert stream.take(EXAMPLES, range(72)) == []
