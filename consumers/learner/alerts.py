"""Alerts of a learner, and the conditions that clear them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from consumers.loop.alerts import Alerts, Severity
from consumers.model.model_size import Growth
from consumers.model.quality import Quality
from consumers.roles import LEARNER
from runtime.kafka_client.records import Output, Record
from schemas.topics import Names

POISON: Final = "learner.poison"
REFUSED: Final = "learner.refused"
OUTLIERS: Final = "learner.outliers"
MEMORY: Final = "learner.memory"
MEMORY_AHEAD: Final = "learner.memory-ahead"
STORE: Final = "learner.store"
WORSE: Final = "learner.worse-than-baseline"
_OF_EXAMPLES: Final = (POISON, REFUSED, OUTLIERS, WORSE)
_OWN: Final = frozenset(name.removeprefix(f"{LEARNER}.") for name in (*_OF_EXAMPLES, MEMORY, MEMORY_AHEAD, STORE))
_SAID_IN_FULL: Final = 20
_PASSED_AFTER: Final = 1000  # examples learned without another


def model_of_alert(name: str) -> str | None:
    """Return the name of the model whose learner has an alert of this name; `None` unless it is a named model's.

    >>> model_of_alert("learner.forest.poison"), model_of_alert("learner.forest.0.ends")
    ('forest', 'forest')
    >>> model_of_alert("learner.poison"), model_of_alert("learner.0.ends"), model_of_alert("joiner.0.disk")
    (None, None, None)
    """
    role, *rest = name.split(".")
    is_named = role == LEARNER and (len(rest) > 2 or (len(rest) == 2 and rest[1] in _OWN))
    return rest[0] if is_named else None


class LearnerAlerts:
    """Alerts of a learner.

    An alert about examples or quality clears after `_PASSED_AFTER` further examples without such a case, one about the
    model's size when the size is allowed again.

    Parameters
    ----------
    role
        The learner's role, whose name is the beginning of its alerts' names: each model has alerts of its own.
    """

    def __init__(self, names: Names, say: Callable[[str], None], role: str = LEARNER) -> None:
        self._alerts = Alerts(names, say)
        self._say = say
        self._role = role
        self._left_out = 0
        self._stream = names.stream
        self._last: dict[str, int] = {}  # by alert, the number of learned examples at its last case

    def restore(self, remembered: Sequence[str], learned: int) -> None:
        """Restore the raised alerts from the offset metadata."""
        self._alerts.restore(remembered)
        self._last = {name: learned for name in map(self._own, _OF_EXAMPLES) if name in self._alerts}

    def _own(self, name: str) -> str:
        """Return the name of this learner's alert."""
        return self._role + name.removeprefix(LEARNER)

    def remembered(self) -> list[str]:
        """Return the names for the offset metadata."""
        return self._alerts.remembered()

    def poison(self, record: Record, reason: str, learned: int) -> list[Output]:
        """Raise the alert that an example broke the model and was left out."""
        self._say_left_out(record.offset, reason)
        text = (
            f"example at offset {record.offset} broke the model and is left out: {reason}. "
            f"`millstream dead-letters {self._stream}` shows it and others"
        )
        return self._seen(POISON, "critical", text, learned, record)

    def _say_left_out(self, offset: int, reason: str) -> None:
        """Report only the first cases in full: every example breaks a model that does not fit its data."""
        self._left_out += 1
        if self._left_out <= _SAID_IN_FULL:
            self._say(f"example at offset {offset} broke the model and is left out: {reason}")
        elif self._left_out % 1000 == 0:
            self._say(f"{self._left_out} examples broke the model and are left out, the last at offset {offset}")
        if self._left_out == _SAID_IN_FULL:
            self._say("more such examples are counted, and are among the dead letters")

    def refused(self, record: Record, reason: str, learned: int) -> list[Output]:
        """Raise the alert that a rule refused an example."""
        text = f"examples are refused: {reason}. `millstream dead-letters {self._stream}` shows them"
        return self._seen(REFUSED, "warning", text, learned, record)

    def outlier(self, record: Record, reason: str, learned: int) -> list[Output]:
        """Raise the alert that an outlier was learned."""
        decided = "Validation(bounds=…) in the stream file sets the action"
        text = f"{reason}; it is learned, because the model stays sound; {decided}"
        return self._seen(OUTLIERS, "warning", text, learned, record)

    def _seen(self, name: str, severity: Severity, text: str, learned: int, record: Record) -> list[Output]:
        name = self._own(name)
        self._last[name] = learned
        place = {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}
        return self._alerts.raise_(name, severity, text, record.timestamp, place)

    def quality(self, found: Quality | None, learned: int, now_ms: int) -> list[Output]:
        """Compare the served answers with the baselines, at a version. Clears like alerts about examples."""
        if found is None or not found.worse or self._role != LEARNER:
            return []  # what was served is the same for all learners: that of the stream's own model tells
        self._last[WORSE] = learned
        metric = found.metrics[0]
        source, value = metric.best
        text = (
            f"served {found.verdict}, over the newest {found.labels} labels. `millstream models list {self._stream}` "
            f"shows the versions; `millstream models rollback {self._stream}` serves the one before"
        )
        details = {"metric": metric.metric, "served": str(metric.served), source: str(value)}
        return self._alerts.raise_(WORSE, "warning", text, now_ms, details)

    def passed(self, learned: int, now_ms: int) -> list[Output]:
        """Clear the alerts without a recent case."""
        outputs: list[Output] = []
        for name, last in list(self._last.items()):
            if learned >= last + _PASSED_AFTER:
                del self._last[name]
                outputs += self._alerts.clear(name, now_ms)
        return outputs

    def not_written(self, reason: str, now_ms: int) -> list[Output]:
        """Raise the alert that a version could not be written; learning continues, and the next checkpoint retries."""
        text = f"no version can be written ({reason}): what is learned is not served until one is written"
        return self._alerts.raise_(self._own(STORE), "critical", text, now_ms)

    def written(self, now_ms: int) -> list[Output]:
        """Clear the alert of `not_written`."""
        return self._alerts.clear(self._own(STORE), now_ms)

    def size(self, growth: Growth, now_ms: int) -> list[Output]:
        """Raise or clear the alerts about the model's size."""
        details = {"model_bytes": str(growth.model_bytes), "max_model_bytes": str(growth.limit)}
        outputs: list[Output] = []
        ahead = growth.warning()
        if growth.full:
            outputs += self._alerts.raise_(self._own(MEMORY), "critical", growth.reached(), now_ms, details)
        else:
            outputs += self._alerts.clear(self._own(MEMORY), now_ms)
        if ahead is not None:
            outputs += self._alerts.raise_(self._own(MEMORY_AHEAD), "warning", ahead, now_ms, details)
        elif not growth.full:
            outputs += self._alerts.clear(self._own(MEMORY_AHEAD), now_ms)
        return outputs
