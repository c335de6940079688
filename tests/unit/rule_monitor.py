"""Alert rules, the judgements that they are evaluated on, and the records that they have written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consumers.model.models_topic_state import Known
from consumers.monitor.drift.findings import Finding, Judgement
from consumers.monitor.drift.judge import Judge
from consumers.monitor.drift.rules import DriftRules, Trailing
from consumers.monitor.rules.decisions import Decisions
from consumers.monitor.rules.rules import Rules, RulesSettings
from consumers.monitor.rules.values import Measured
from consumers.monitor.windows import EXAMPLES, METRICS, PREDICTIONS
from millstream.stream.alert_rules import Rule, evaluated
from model_store import StoreUnavailable, VersionId
from runtime.kafka_client.records import Output
from schemas.alerts import Alert, read_alert
from schemas.model_updates import Learning, ModelUpdate, Promoted, Serving, read_model_update
from schemas.profiles import Window
from schemas.topics import Names

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NAMES = Names("s", models=("b",))
T0 = 1_000 * DAY


class GivenWindows(Judge):
    """A judge that has judged the windows that it was given."""

    def __init__(self) -> None:
        super().__init__(DriftRules(HOUR, 1 / DAY, Trailing(DAY)))
        self.given: list[Window] = []

    def knows(self, at_ms: int) -> bool:
        return any(each.start <= at_ms for each in self.given)

    def windows(self, since_ms: int, until_ms: int) -> list[Window]:
        return [each for each in self.given if since_ms <= each.start < until_ms]


@dataclass
class Store:
    """Kept versions by the time of their announcement."""

    announced: Mapping[int, VersionId] = field(default_factory=dict)
    broken: bool = False
    kept: list[VersionId] = field(default_factory=list)
    since: int | None = None

    def before(self, model: str, at_ms: int) -> VersionId | None:
        if self.broken:
            raise StoreUnavailable("the store does not answer")
        fit = [at for at, version in self.announced.items() if at < at_ms and version.model == model]
        return self.announced[max(fit)] if fit else None

    def keep(self, version: VersionId) -> None:
        self.kept.append(version)

    def answers_since(self, version: VersionId) -> int | None:
        return self.since


class Monitor:
    """Rules, the windows they see, and the records they have written."""

    def __init__(self, *rules: Rule, store: Store | None = None, window_ms: int = 5 * MINUTE) -> None:
        self.settings = RulesSettings(NAMES, evaluated(rules), window_ms)
        self.store = store or Store()
        self.known = Known()
        self.decisions = Decisions(NAMES.model_ids)
        self.now = T0
        self.watched = GivenWindows()
        self.values: dict[str, tuple[float, int]] = {}
        self.sent: list[Output] = []
        self.said: list[str] = []
        self.rules = self._new()

    def _new(self) -> Rules:
        return Rules(self.settings, self.decisions.now, self.store, self._served, self.said.append, lambda: self.now)

    def _served(self, windows: Sequence[Window]) -> Mapping[str, Measured]:
        return {name: Measured(*value) for name, value in self.values.items()}

    def judge(self, minutes: float, findings: Sequence[Finding] = (), **values: tuple[float, int]) -> list[Alert]:
        """Judge the buckets of all kinds that end at these minutes, with these values of the served metrics."""
        self.values = dict(values)
        return [
            alert for kind in (PREDICTIONS, EXAMPLES, METRICS) for alert in self.judge_kind(kind, minutes, findings)
        ]

    def judge_kind(self, kind: str, minutes: float, findings: Sequence[Finding] = ()) -> list[Alert]:
        """Judge the bucket of one kind that ends at these minutes."""
        at = T0 + round(minutes * MINUTE)
        self.now = max(self.now, at)
        return self._keep(self.rules.judged(Judgement(at, list(findings), [], []), self.watched, kind))

    def tick(self, minutes: float) -> list[Alert]:
        self.now = T0 + round(minutes * MINUTE)
        return self._keep(self.rules.tick(self.now, self.watched))

    def _keep(self, outputs: list[Output]) -> list[Alert]:
        self.sent += outputs
        for output in outputs:
            if output.topic == "s.models":
                self.known.take(output.key, output.value)
                self.decisions.follow(self.known)
        return [read_alert(each.value or b"") for each in outputs if each.topic == "s.alerts"]

    def decide(self, state: Serving | Learning | Promoted) -> None:
        """Decide as a person or the referee does."""
        self.known.take(state.key.encode(), ModelUpdate(self.now, state).encode())
        self.decisions.follow(self.known)

    def restart(self, *rules: Rule) -> None:
        """Start again with what was remembered at the last commit."""
        remembered = self.rules.remembered()
        assert len(remembered) < 2_500
        if rules:
            self.settings = RulesSettings(NAMES, evaluated(rules), self.settings.window_ms)
        self.rules = self._new()
        self.rules.restore(remembered)

    def on(self, kind: str) -> list[bytes]:
        return [each.value or b"" for each in self.sent if each.topic == f"s.{kind}"]

    def decided(self) -> list[Any]:
        assert self.on("models") == self.on("decisions")
        return [read_model_update(value).state for value in self.on("models")]


def states(alerts: Sequence[Alert]) -> list[tuple[str, str]]:
    return [(alert.name, alert.state) for alert in alerts]


def finding(check: str, subject: str, since_ms: int = T0, text: str = "") -> Finding:
    return Finding(check, subject, value=1, usual=0, threshold=0.5, since_ms=since_ms, text=text)


def findings(count: int) -> list[Finding]:
    return [finding("mean", f"feature:f{each:02}", T0 + each, f"f{each:02} has moved") for each in range(count)]
