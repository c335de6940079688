"""Alerts of a referee, and the conditions that clear them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from consumers.loop.alerts import Alerts
from runtime.kafka_client.records import Output
from schemas.model_names import name_of
from schemas.model_updates import Promoted
from schemas.topics import Names

PROMOTED: Final = "referee.promoted"
RETURNED: Final = "referee.returned"
WOULD: Final = "referee.would-promote"
LOSS: Final = "referee.loss"


class RefereeAlerts:
    """Alerts of a referee. Those about a decision clear when the next contest begins."""

    def __init__(self, names: Names, say: Callable[[str], None]) -> None:
        self._alerts = Alerts(names, say)
        self._stream = names.stream

    def restore(self, remembered: Sequence[str]) -> None:
        """Restore the raised alerts from the offset metadata."""
        self._alerts.restore(remembered)

    def remembered(self) -> list[str]:
        """Return the names for the offset metadata."""
        return self._alerts.remembered()

    def decided(self, decision: Promoted, now_ms: int) -> list[Output]:
        """Raise the alert of a decision; those of the contest before have cleared."""
        text = f"{name_of(decision.model)} serves instead of {name_of(decision.before)}: {decision.why}"
        undo = f"`millstream models rollback {self._stream}` takes it back"
        if decision.by == "rule":
            return self._alerts.raise_(PROMOTED, "info", f"{text}. {undo}", now_ms, _details(decision))
        return self._alerts.raise_(RETURNED, "warning", f"{text}. {undo}", now_ms, _details(decision))

    def would(self, decision: Promoted, now_ms: int) -> list[Output]:
        """Raise the alert that the rule would promote a model, but a person has pinned a version."""
        text = (
            f"{name_of(decision.model)} would be promoted ({decision.why}), but a version is pinned: "
            f"`millstream models promote {self._stream} {name_of(decision.model)}` decides it"
        )
        return self._alerts.raise_(WOULD, "info", text, now_ms, _details(decision))

    def contest_begins(self, now_ms: int) -> list[Output]:
        """Clear the alerts about the contest before."""
        return [output for name in (PROMOTED, RETURNED, WOULD) for output in self._alerts.clear(name, now_ms)]

    def loss_fails(self, failed: int, now_ms: int) -> list[Output]:
        """Raise the alert that the stream's own loss function failed."""
        text = (
            f"the function in Promote(loss=…) raised an exception or returned no finite number, {failed} times so far: "
            "each such answer costs the loss's bound; correct the function"
        )
        return self._alerts.raise_(LOSS, "warning", text, now_ms, {"failed": str(failed)})


def _details(decision: Promoted) -> dict[str, str]:
    return {"model": decision.model, "before": decision.before} | {
        name: f"{value:.6g}" for name, value in decision.evidence.items()
    }
