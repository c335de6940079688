"""Jobs that the trainer itself asks for: those due by a schedule, and those for alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from consumers.loop.alert_states import AlertStates
from consumers.loop.job_states import JobStates
from consumers.trainer.rules import BatchRules, alert_id, slot_id
from runtime.kafka_client.records import Record
from schemas.alerts import Alert, read_alert_record
from schemas.codec import CodecError
from schemas.duration_text import spoken
from schemas.jobs import Job

SCHEDULE: Final = "schedule"
"""Who asks for scheduled jobs."""


class Asking:
    """Returns the jobs to ask for, given the records of the alerts topic in order and the time.

    Parameters
    ----------
    rules
        By model.
    topic_id
        Short hash of the id of the alerts topic.
    say
        Prints one line for the operator.
    """

    def __init__(self, rules: Mapping[str, BatchRules], topic_id: str, say: Callable[[str], None]) -> None:
        self._rules = rules
        self._topic_id = topic_id
        self._say = say
        self._states = AlertStates()

    def take(self, record: Record) -> Alert | None:
        """Apply a record of the alerts topic; return the alert if this raises it, and it was not raised before."""
        try:
            read = read_alert_record(record.value or b"")
        except CodecError:
            return None  # any client can write there
        new = read.name not in self._states.raised
        self._states.take(record.offset, read)
        return read if isinstance(read, Alert) and read.state == "raised" and new else None

    def of_alert(self, alert: Alert, offset: int, jobs: JobStates, now_ms: int) -> Sequence[Job]:
        """Return the jobs of the models that are to be trained when this alert is raised."""
        asked: list[Job] = []
        for model, rules in self._rules.items():
            if alert.name not in rules.retrain_on:
                continue
            before = [each.job.at for each in jobs if each.job.id.startswith(f"{model}.alert-")]
            if before and now_ms - max(before) < rules.not_more_than_ms:
                self._say(
                    f"{alert.name} asks for no job of {model}: the last one is {spoken(now_ms - max(before))} old, "
                    f"and not_more_than is {spoken(rules.not_more_than_ms)}"
                )
                continue
            asked.append(Job(alert_id(model, self._topic_id, offset), model, alert.message, alert.name, now_ms))
        return asked

    def scheduled(self, slots: dict[str, int], jobs: JobStates, now_ms: int) -> Sequence[Job]:
        """Return the job of each model's newest slot, unless a scheduled job of the model has not ended.

        `slots` has the slots that were asked for; a model that is new there waits for its next slot.
        """
        for model in slots.keys() - {name for name, rules in self._rules.items() if rules.every_ms}:
            del slots[model]
        asked: list[Job] = []
        for model, rules in self._rules.items():
            slot = rules.slot(now_ms)
            if not rules.every_ms or slot <= slots.setdefault(model, slot):
                continue
            if any(each.job.model == model and each.job.by == SCHEDULE for each in jobs.open()):
                continue
            slots[model] = slot
            asked.append(Job(slot_id(model, slot), model, f"every {spoken(rules.every_ms)}", SCHEDULE, now_ms))
        return asked
