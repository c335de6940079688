"""A trainer over a log in memory, and trainings that take some turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from simulation.log import Crash, MemoryLog, SimulatedLoop

from consumers.loop.job_states import JobStates, read_record
from consumers.trainer.offset_metadata import TrainerMetadata
from consumers.trainer.rules import BatchRules
from consumers.trainer.trainer import Trainer, TrainerSettings
from consumers.trainer.training_messages import TrainingProgress
from consumers.trainer.trainings import InForce, NoWork, RunEvent, Trained
from runtime.kafka_client.records import Output, Partition
from schemas.alerts import Alert, read_alert
from schemas.jobs import Claim, Job, JobState
from schemas.model_names import version_text
from schemas.model_updates import Promoted, Published, read_model_update
from schemas.topics import Names

NAMES: Final = Names("s", models=("gbdt", "text"), batch=("gbdt", "text"))
GROUP: Final = NAMES.group("trainer")
JOBS, ALERTS = NAMES.topic("jobs"), NAMES.topic("alerts")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
TAKE: Final = {JOBS: 2, ALERTS: 2}


@dataclass
class FakeRun:
    """A training that tells its progress, and then these events."""

    events_left: list[Sequence[RunEvent]]
    ended: bool = False

    def events(self) -> Sequence[RunEvent]:
        assert not self.ended
        return self.events_left.pop(0) if self.events_left else ()

    def end(self) -> None:
        self.ended = True


@dataclass
class FakeTrainings:
    """Trainings with a store: a version is there before anybody hears of it, and its name is never given twice.

    Attributes
    ----------
    endings
        How the next trainings end; after them, all give a version.
    """

    world: World
    turns: int = 2
    better: bool | None = None
    endings: list[RunEvent] = field(default_factory=list)
    begun: list[tuple[str, int, Claim]] = field(default_factory=list)
    runs: list[FakeRun] = field(default_factory=list)
    store: dict[tuple[str, int], Claim] = field(default_factory=dict)
    examples: int = 100

    def claim(self, job: Job, newest_epoch: int) -> Claim:
        if self.examples == 0:
            raise NoWork("the log has no examples in this range")
        end = self.examples if job.end is None else job.end
        return Claim(newest_epoch + 1, "log", job.begin or 0, end)

    def start(self, job: Job, attempt: int, claim: Claim) -> FakeRun:
        self.begun.append((job.id, attempt, claim))
        committed = [each for each in self.world.states(job.id) if each.state == "running"]
        assert committed[-1].attempt == attempt, "a training begins after its claim is committed"
        last = self.endings.pop(0) if self.endings else self._version(job, claim)
        run = FakeRun([*[[TrainingProgress(turn, self.turns, "fits")] for turn in range(self.turns)], [last]])
        self.runs.append(run)
        return run

    def _version(self, job: Job, claim: Claim) -> Trained:
        model = f"s.{job.model}"
        assert self.store.setdefault((model, claim.epoch), claim) == claim, "one name, one version"
        published = Published(model, 0, claim.epoch, claim.end, claim.topic_id, claim.end, "0" * 64, 1, 2, {})
        text = version_text(model, claim.epoch, claim.end)
        return Trained(text, published, self.better, {"mean": 0.1}, "its loss is lower", {"table": []})


@dataclass
class World:
    """The topics of a stream with batch models, and the trainers that work on them."""

    rules: dict[str, BatchRules] = field(default_factory=lambda: {name: BatchRules(name) for name in ("gbdt", "text")})
    log: MemoryLog = field(
        default_factory=lambda: MemoryLog({NAMES.topic(kind): 1 for kind in ("jobs", "alerts", "models", "decisions")})
    )
    serving: InForce = field(default_factory=lambda: InForce("s"))
    said: list[str] = field(default_factory=list)
    new_epoch: bool = False
    instance: int = 0

    def __post_init__(self) -> None:
        self.trainings = FakeTrainings(self)

    def ask(self, job: str, model: str = "gbdt", **more: Any) -> None:
        self.add(Job(job, model, "a test", "ann", self.log.now, **more))

    def cancel(self, job: str, model: str = "gbdt") -> None:
        self.add(JobState(job, model, "cancel", 0, "ann", self.log.now, '{"why":"not now"}'))

    def add(self, record: Job | JobState) -> None:
        self.log.append(Output(JOBS, 0, record.id.encode(), record.encode()))

    def alert(self, name: str, state: Any = "raised") -> None:
        alert = Alert(name, "warning", state, f"{name} is {state}", self.log.now, {})
        self.log.append(Output(ALERTS, 0, name.encode(), alert.encode()))

    def trainer(self) -> Trainer:
        self.instance += 1
        settings = TrainerSettings(NAMES, self.rules, f"trainer-{self.instance}", self.new_epoch)
        clock = lambda: self.log.now  # noqa: E731 - as the processor takes it
        return Trainer(settings, self.trainings, lambda: self.serving, clock, self.said.append)

    def loop(self, crash: Callable[[str], bool] = lambda place: False, share: Any = None) -> SimulatedLoop:
        return SimulatedLoop(self.log, GROUP, self.trainer(), crash, share)

    def work(self, crash: Callable[[str], bool] = lambda place: False) -> Trainer:
        """Run a trainer until all jobs have ended, starting again after every crash."""
        for _ in range(1000):
            try:
                loop = self.loop(crash)
                self.turn(loop)
                while not (loop.idle() and not self.known().open()):
                    self.turn(loop)
            except Crash:
                continue
            return loop._processor  # type: ignore[return-value]
        raise AssertionError("the jobs do not end")

    def turn(self, loop: SimulatedLoop, count: int = 1) -> None:
        """Take some turns, one each second."""
        for _ in range(count):
            self.log.now += 1_000
            loop.step(TAKE)

    # --- what is there now -------------------------------------------------------------------------

    def known(self) -> JobStates:
        states = JobStates()
        for record in self.log.read(JOBS):
            read = read_record(record.value)
            if read is not None:
                states.take(record.offset, read)
        return states

    def jobs(self) -> list[Job]:
        found = [read_record(record.value) for record in self.log.read(JOBS)]
        return [each for each in found if isinstance(each, Job)]

    def states(self, job: str | None = None) -> list[JobState]:
        found = [read_record(record.value) for record in self.log.read(JOBS)]
        return [each for each in found if isinstance(each, JobState) and job in (None, each.id)]

    def told(self, job: str) -> list[tuple[str, int]]:
        """Return states and attempts of a job, without its progress."""
        return [(each.state, each.attempt) for each in self.states(job) if each.state != "progress"]

    def detail(self, job: str) -> dict[str, Any]:
        """Return the detail of the last record of a job."""
        return msgspec.json.decode(self.states(job)[-1].detail, type=dict[str, Any])

    def decisions(self, kind: str = "decisions") -> list[Published | Promoted]:
        states = [read_model_update(each.value or b"").state for each in self.log.read(NAMES.topic(kind))]
        return [state for state in states if isinstance(state, (Published, Promoted))]

    def alerts(self) -> list[tuple[str, str]]:
        return [(each.name, each.state) for each in (read_alert(one.value or b"") for one in self.log.read(ALERTS))]

    def metadata(self) -> TrainerMetadata:
        told = TrainerMetadata.decode(self.log.places[GROUP, Partition(JOBS, 0)].metadata)
        assert isinstance(told, TrainerMetadata)
        return told
