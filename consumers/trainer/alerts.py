"""Alerts of a trainer: a job has failed, until a later one of its model has not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

from consumers.loop.alerts import Alerts
from consumers.roles import TRAINER
from runtime.kafka_client.records import Output
from schemas.jobs import Job
from schemas.topics import Names

FAILED: Final = f"{TRAINER}.failed."
"""Beginning of an alert's name; the model's name follows."""


class TrainerAlerts:
    """Alerts of a trainer, one for each model."""

    def __init__(self, names: Names, say: Callable[[str], None]) -> None:
        self._alerts = Alerts(names, say)
        self._stream = names.stream

    def restore(self, remembered: Sequence[str]) -> None:
        """Restore the raised alerts from the offset metadata."""
        self._alerts.restore(remembered)

    def remembered(self) -> list[str]:
        """Return the names for the offset metadata."""
        return self._alerts.remembered()

    def failed(self, job: Job, why: str, now_ms: int) -> list[Output]:
        """Raise the alert that a job has failed."""
        text = (
            f"job {job.id} has failed, so {job.model} has no new version: {why}. "
            f"`millstream jobs show {self._stream} {job.id}` says more, `millstream train {self._stream} {job.model}` "
            "asks for another"
        )
        return self._alerts.raise_(FAILED + job.model, "warning", text, now_ms, {"job": job.id, "model": job.model})

    def succeeded(self, model: str, now_ms: int) -> list[Output]:
        """Clear the alert of a model that was trained."""
        return self._alerts.clear(FAILED + model, now_ms)

    def forget(self, models: Collection[str], now_ms: int) -> list[Output]:
        """Clear the alerts of models that the stream no longer has."""
        gone = [name for name in self._alerts.remembered(FAILED) if name.removeprefix(FAILED) not in models]
        return [output for name in gone for output in self._alerts.clear(name, now_ms)]
