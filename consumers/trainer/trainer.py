"""Trainer role: reads jobs and alerts, and has batch models trained, one job at a time.

A claim is committed before its training begins, and the end of a job in one transaction with the announcement of its
version. So a process that takes over finds in the jobs topic what to go on with: it reads the topic whole, and decides
nothing before it has read the last record that its group has written. Only the owner of the jobs topic works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from consumers.loop.job_states import JobStates, KnownJob, Step, read_record
from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import short_ids
from consumers.loop.processor import Assignment, Start
from consumers.loop.start_offsets import Starts
from consumers.roles import TRAINER
from consumers.trainer.alerts import TrainerAlerts
from consumers.trainer.asking import Asking
from consumers.trainer.deploying import deploy, end_detail
from consumers.trainer.offset_metadata import TrainerMetadata, Working, Written
from consumers.trainer.rules import BatchRules
from consumers.trainer.training_messages import TrainingFailed, TrainingProgress
from consumers.trainer.trainings import InForce, Lost, NoWork, Run, Trained, Trainings
from runtime.exits import Doubt
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions, Record
from schemas.duration_text import spoken
from schemas.jobs import Claim, Job, JobState, JobStateName
from schemas.topics import Names

_PROGRESS_MS: Final = 1_000
_NO_MODEL: Final = "the stream has no batch model of this name"


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of a trainer.

    Attributes
    ----------
    by
        Name of this process, for the records of jobs.
    new_epoch
        Continue although a topic is no longer the one that the trainer left, without the jobs asked for so far.
    """

    names: Names
    rules: Mapping[str, BatchRules]
    by: str
    new_epoch: bool = False


@dataclass
class _Current:
    """The training that goes on.

    Attributes
    ----------
    result
        How it has ended, `None` until then. It stays until the record of it is committed.
    told
        Time (ms) of the last progress record.
    """

    job: Job
    attempt: int
    since: int
    run: Run
    step: TrainingProgress | None = None
    told: int = 0
    result: TrainingFailed | Trained | None = None
    ending: bool = False


class Trainer:
    """The `Processor` of the trainer; the module docstring describes it.

    Parameters
    ----------
    serving
        Returns which model serves.
    clock
        Milliseconds since 1970.
    say
        Prints one line for the operator.
    memory
        Remembers which topics were read last, and up to which offsets.
    """

    def __init__(
        self,
        settings: TrainerSettings,
        trainings: Trainings,
        serving: Callable[[], InForce],
        clock: Callable[[], int] | None = None,
        say: Callable[[str], None] = print,
        memory: TopicMemory | None = None,
    ) -> None:
        self._settings = settings
        self._rules = settings.rules
        self._trainings = trainings
        self._serving = serving
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._say = say
        self._memory = memory or TopicMemory()
        names = settings.names
        self._jobs_at, self._alerts_at = (Partition(names.topic(kind), 0) for kind in ("jobs", "alerts"))
        self._starts = Starts(TRAINER, TrainerMetadata, self._memory, (self._alerts_at.topic,), settings.new_epoch, say)
        self._alerts = TrainerAlerts(names, say)
        self._topic_ids: dict[str, str] = {}
        self._mine = False
        self._jobs = JobStates()
        self._asking = Asking({}, "", say)
        self._note, self._alerts_note = TrainerMetadata(), TrainerMetadata()
        self._without_past = False
        self._claimed: tuple[Job, int, Claim] | None = None  # to be trained once this is committed
        self._current: _Current | None = None

    @property
    def topics(self) -> Sequence[str]:
        return (self._jobs_at.topic, self._alerts_at.topic)

    @property
    def overlaps(self) -> bool:
        return False  # a training begins after its claim is committed

    # --- taking over -------------------------------------------------------------------------------

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._jobs, self._claimed = JobStates(), None
        self._mine = self._jobs_at in assignment.committed
        if self._mine != (self._alerts_at in assignment.committed):
            raise Doubt("the topics of jobs and alerts are assigned to different trainers")
        beside = {partition: Start(live=end) for partition, end in assignment.ends.items()}
        if not self._mine:
            self._end_run()
            self._say("waiting: another trainer works")
            return beside
        self._topic_ids = {topic: short_ids(topic_id) for topic, topic_id in assignment.topic_ids.items()}
        self._asking = Asking(self._rules, self._topic_ids[self._alerts_at.topic], self._say)
        starts, notes = self._starts.take(assignment)
        self._note, self._alerts_note = notes[self._jobs_at], notes[self._alerts_at]
        self._note.models = [*self._rules]
        self._alerts.restore(self._note.alerts)
        jobs, alerts = starts[self._jobs_at], starts[self._alerts_at]
        self._without_past = jobs.back
        if jobs.back or assignment.beginnings[self._jobs_at] > 0:
            self._note.written = None  # that record may be in this log no longer
        # All of both topics is read before anything is decided.
        begin, end = assignment.beginnings, assignment.ends
        live = max(jobs.live, end[self._jobs_at])
        jobs = replace(jobs, live=live, recover_from=begin[self._jobs_at])
        if alerts.back:
            alerts = replace(alerts, live=end[self._alerts_at])
        alerts = replace(alerts, recover_from=begin[self._alerts_at])
        return {**beside, self._jobs_at: jobs, self._alerts_at: alerts}

    def recover(self, batch: Batch) -> None:
        for record in batch.get(self._jobs_at, ()):
            self._take_job(record)
        for record in batch.get(self._alerts_at, ()):
            self._asking.take(record)

    def recovered(self) -> None:
        """Give up the jobs of the past if the operator has decided so."""
        if self._without_past:
            for known in self._jobs.open():
                self._cancel_wish(known, "the trainer goes on with --new-epoch fresh")
        self._without_past = False
        if self._current is not None:
            self._current.ending = False  # its end was not committed

    def _cancel_wish(self, known: KnownJob, why: str) -> None:
        job = known.job
        self._jobs.take(-1, JobState(job.id, job.model, "cancel", 0, self._settings.by, self._clock(), _json(why=why)))

    def _caught_up(self) -> bool:
        """Return whether all that this group has written was read, and end a training that is not the last one."""
        written = self._note.written
        if written is not None and not self._jobs.shows(written.id, written.state, written.attempt):
            return False
        current = self._current
        if current is not None:
            known = self._jobs.get(current.job.id)
            mine = known is not None and known.state == "running" and known.attempts == current.attempt
            if not mine and not current.ending:
                self._end_run()
        return True

    # --- records -----------------------------------------------------------------------------------

    def process(self, batch: Batch) -> list[Output]:
        outputs: list[Output] = []
        for record in batch.get(self._jobs_at, ()):
            self._take_job(record)
        for record in batch.get(self._alerts_at, ()):
            alert = self._asking.take(record)
            if alert is not None:
                outputs += self._ask(self._asking.of_alert(alert, record.offset, self._jobs, self._clock()))
        return outputs

    def _take_job(self, record: Record) -> None:
        read = read_record(record.value)
        if read is not None:
            self._jobs.take(record.offset, read)

    def _ask(self, jobs: Sequence[Job]) -> list[Output]:
        """Return the records of these jobs, without those that were asked for before."""
        return [self._output(job.id, job.encode()) for job in jobs if self._jobs.take(-1, job)]

    # --- by the clock ------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Output]:
        if not self._mine or not self._caught_up():
            return []
        outputs = self._alerts.forget(self._rules, now_ms)
        outputs += self._follow_run(now_ms)
        for known in self._jobs.open():
            if known.cancel is not None:
                outputs += self._cancel(known, known.cancel, now_ms)
        outputs += self._ask(self._asking.scheduled(self._note.slots, self._jobs, now_ms))
        return outputs + self._claim_next(now_ms)

    def _claim_next(self, now_ms: int) -> list[Output]:
        """Claim the oldest job that has not ended, if nothing is trained now."""
        outputs: list[Output] = []
        for known in [] if self._current is not None else self._jobs.open():
            job, attempt = known.job, known.attempts + 1
            if job.model not in self._rules:
                outputs += self._end(job, "failed", now_ms, {"why": _NO_MODEL})
                continue
            if known.tried_enough:
                why = f"{attempt - 1 - known.returned} attempts have ended without a result, the last one of {known.by}"
                outputs += self._fail(job, why, now_ms)
                continue
            try:
                claim = known.claim or self._trainings.claim(job, self._newest_epoch(job.model))
            except NoWork as error:
                outputs += self._fail(job, str(error), now_ms)
                continue
            self._claimed = job, attempt, claim
            self._note.attempts += 1
            self._note.working = Working(job.id, job.model, attempt, now_ms)
            detail = msgspec.json.encode(claim).decode()
            return [*outputs, self._state(job, "running", now_ms, detail, attempt)]
        return outputs

    def _newest_epoch(self, model: str) -> int:
        """Return the newest epoch that a job of this model has claimed, 0 if there is none."""
        return max((each.claim.epoch for each in self._jobs if each.claim and each.job.model == model), default=0)

    # --- the training ------------------------------------------------------------------------------

    def _follow_run(self, now_ms: int) -> list[Output]:
        current = self._current
        if current is None or current.ending:
            return []
        for event in current.run.events():
            if isinstance(event, TrainingProgress):
                current.step = event
            elif isinstance(event, Lost):
                return self._lose(current, event, now_ms)
            else:
                current.result = event
        longest = self._rules[current.job.model].longest_ms
        if current.result is None and now_ms - current.since > longest:
            current.run.end()
            current.result = TrainingFailed(f"it has taken longer than longest={spoken(longest)}, and was ended")
        if current.result is None:
            return self._progress(current, now_ms)
        current.ending = True
        if isinstance(current.result, Trained):
            return self._succeed(current.job, current.result, now_ms)
        return self._fail(current.job, current.result.why, now_ms)

    def _lose(self, current: _Current, lost: Lost, now_ms: int) -> list[Output]:
        """Give an attempt up; the next turn claims another, or none is left."""
        self._current = None
        self._note.working = None
        known = self._jobs.get(current.job.id)
        self._say(f"attempt {current.attempt} of job {current.job.id} has ended without a result: {lost.why}")
        if lost.said:
            self._say(f"attempt {current.attempt} of job {current.job.id} said: {lost.said}")
        if known is not None and known.tried_enough:
            count = known.attempts - known.returned
            return self._fail(
                current.job, f"{count} attempts have ended without a result, the last one: {lost.why}", now_ms
            )
        return []

    def _progress(self, current: _Current, now_ms: int) -> list[Output]:
        """Return a record of how far it is: at first each second, later more seldom, so that they stay few."""
        step = current.step
        if step is None or now_ms - current.told < max(_PROGRESS_MS, (now_ms - current.since) // 60):
            return []
        current.step, current.told = None, now_ms
        job, attempt = current.job, current.attempt
        self._note.working = Working(job.id, job.model, attempt, current.since, step.done, step.of)
        detail = msgspec.json.encode(Step(step.done, step.of, step.text)).decode()
        return [self._state(job, "progress", now_ms, detail, attempt)]

    def _succeed(self, job: Job, trained: Trained, now_ms: int) -> list[Output]:
        deployed = deploy(self._settings.names, self._rules[job.model].deploy, trained, self._serving(), now_ms)
        self._note.deployed += deployed.serves
        self._say(f"job {job.id} is done: {trained.version}: {deployed.text}")
        ended = self._end(job, "done", now_ms, end_detail(trained, deployed))
        return [*deployed.outputs, *ended, *self._alerts.succeeded(job.model, now_ms)]

    def _fail(self, job: Job, why: str, now_ms: int) -> list[Output]:
        self._say(f"job {job.id} has failed: {why}")
        return [*self._end(job, "failed", now_ms, {"why": why}), *self._alerts.failed(job, why, now_ms)]

    def _cancel(self, known: KnownJob, wish: JobState, now_ms: int) -> list[Output]:
        current = self._current
        if current is not None and current.job.id == known.job.id:
            current.run.end()
            current.ending = True
        self._say(f"job {known.job.id} is cancelled by {wish.by}")
        return self._end(known.job, "cancelled", now_ms, {"why": _why(wish), "by": wish.by})

    def _end(self, job: Job, state: JobStateName, now_ms: int, detail: Mapping[str, Any]) -> list[Output]:
        note, known = self._note, self._jobs.get(job.id)
        note.trained += state == "done"
        note.failed += state == "failed"
        note.cancelled += state == "cancelled"
        if note.working is not None and note.working.id == job.id:
            note.working = None
        return [self._state(job, state, now_ms, _json(**detail), 0 if known is None else known.attempts)]

    def _state(self, job: Job, state: JobStateName, now_ms: int, detail: str, attempt: int) -> Output:
        record = JobState(job.id, job.model, state, attempt, self._settings.by, now_ms, detail)
        self._jobs.take(-1, record)
        self._note.written = Written(job.id, state, attempt)
        return self._output(job.id, record.encode())

    def _output(self, job: str, value: bytes) -> Output:
        return Output(*self._jobs_at, job.encode(), value)

    # --- offsets, shutdown -------------------------------------------------------------------------

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        if not self._mine:
            return {}
        working = self._note.working
        self._note.waiting = sum(working is None or each.job.id != working.id for each in self._jobs.open())
        self._note.alerts = self._alerts.remembered()
        notes = {self._jobs_at: self._note, self._alerts_at: self._alerts_note}
        return {place: CommittedOffset(read[place], note.encode()) for place, note in notes.items() if place in read}

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        for place, committed in places.items():
            self._memory.remember(place.topic, self._topic_ids[place.topic], {place.partition: committed.offset})
        if self._current is not None and self._current.ending:
            self._current = None
        if self._claimed is not None:
            (job, attempt, claim), self._claimed = self._claimed, None
            self._say(f"job {job.id} of {job.model}: attempt {attempt} trains on offsets {claim.begin} to {claim.end}")
            self._current = _Current(job, attempt, self._clock(), self._trainings.start(job, attempt, claim))

    def paused(self) -> frozenset[Partition]:
        return frozenset()

    def stopping(self) -> list[Output]:
        """End the training; an attempt that ends in order does not count."""
        current = self._current
        if current is None or current.ending or not self._mine:
            return []
        self._end_run()
        self._note.working = None
        text = "its trainer has ended in order, and the next one begins again"
        detail = msgspec.json.encode(Step(text=text, returned=True)).decode()
        return [self._state(current.job, "progress", self._clock(), detail, current.attempt)]

    def close(self) -> None:
        """End the training, and save the topics and the offsets read so far."""
        self._end_run()
        self._memory.write()

    def _end_run(self) -> None:
        if self._current is not None:
            self._current.run.end()
            self._current = None


def _json(**detail: Any) -> str:
    return msgspec.json.encode(detail).decode()


def _why(wish: JobState) -> str:
    try:
        told = msgspec.json.decode(wish.detail)
    except msgspec.DecodeError:
        return ""
    why = told.get("why", "") if isinstance(told, dict) else ""
    return why if isinstance(why, str) else ""
