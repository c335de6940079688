"""Wiring of the trainer: rules from the stream file, the log, the store, the processes that train."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consumers.loop.last_offsets_file import TopicMemory
from consumers.model.models_topic_state import Known
from consumers.referee.serving import ServingDecisions
from consumers.roles import TRAINER
from consumers.trainer.child_run import ChildCommand, ChildRun
from consumers.trainer.rules import BatchRules
from consumers.trainer.trainer import Trainer, TrainerSettings
from consumers.trainer.training_messages import TRAINER_PID, TrainingRequest, TrainingResult
from consumers.trainer.trainings import InForce, NoWork, Run, Trained
from consumers.trainer.versions import VersionMaker
from millstream.observability.role_log import say
from millstream.processes.role_loop import drive, following, meet, state_alerts
from millstream.reading import topic_readers
from millstream.stream.batch import BatchModel
from millstream.stream.duration import milliseconds
from millstream.stream.processor_rules import definition_of
from model_store import ModelStore, StoreError, VersionId, open_store
from runtime.descendants import adopt_orphans
from runtime.exits import FAILED, TRY_AGAIN
from runtime.kafka_client.client import Consumer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition
from runtime.niceness import training_niceness
from schemas.jobs import Claim, Job
from schemas.model_names import name_of, version_text
from schemas.topics import Names

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream

_NEWEST: Final = 64  # offsets before the end, among which is a record: between records are transaction markers
_REQUEST_MS: Final = 10_000
_SECRET: Final = re.compile(
    r"SECRET|TOKEN|PASSW|PASSPHRASE|CREDENTIAL|PRIVATE|_KEY|_PWD$|_DSN$|^AWS_|^AZURE_|^GOOGLE_|^MILLSTREAM_REGISTRY",
    re.IGNORECASE,
)
_WITH_PASSWORD: Final = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_OF_KAFKA: Final = re.compile(r"^MILLSTREAM_KAFKA_")
_OF_STORE: Final = re.compile(r"^AWS_|^AZURE_|^GOOGLE_")


def run_trainer(
    loaded: LoadedStream,
    settings: Settings,
    instance: str,
    new_epoch: bool = False,
    *,
    meter: RoleInstrumentation | None = None,
) -> int:
    """Have batch models trained until told to stop; return the exit code."""
    if not loaded.stream.batch:
        say(f"{loaded.path.name}: it has no batch model; batch={{...}} in the stream file names one")
        return FAILED
    try:
        training_niceness(os.environ)
    except ValueError as error:
        say(str(error))
        return FAILED
    cluster, names, _ = meet(loaded, settings, "jobs", "decisions")
    kept = state_alerts(cluster, names, TRAINER, instance)
    folder = settings.state(names) / f"{TRAINER}-{instance}"
    memory = TopicMemory(folder.with_suffix(".json"), written=kept.written)
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    adopt_orphans()  # what a training leaves behind is ended with it
    store = open_store(settings.models, settings.keys, sign=True)
    followed = Followed(names)
    log_id = cluster.topic_info(names.topic("examples"))[names.topic("examples")].id
    trainings = LogTrainings(loaded, settings, cluster, names, store, folder, followed, log_id)
    rules = {name: batch_rules(name, model) for name, model in loaded.stream.batch.items()}
    trainer_settings = TrainerSettings(names, rules, names.process(TRAINER, instance), new_epoch)
    trainer = Trainer(trainer_settings, trainings, followed.in_force, say=say, memory=memory)
    with following(cluster, names, followed.follow) as current:
        return drive(cluster, names, TRAINER, instance, trainer, meter, kept) if current else TRY_AGAIN


class Followed:
    """The models topic, as a thread follows it: which model serves, and which versions are announced."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._serving = ServingDecisions(names.stream)
        self._announced: dict[str, VersionId] = {}
        self._decided: VersionId | None = None

    def follow(self, known: Known) -> None:
        """Apply the state of the models topic."""
        self._serving.follow(known)
        newest = {model: known.announced_of(model, 0)[:1] for model in self._names.model_ids}
        self._announced = {model: found[0].version for model, found in newest.items() if found}
        self._decided = known.decided(0)

    def in_force(self) -> InForce:
        """Return which model serves."""
        now = self._serving.now(None)
        return InForce(now.champion.model, now.follows, now.pinned)

    def to_ask(self) -> str:
        """Return what serves, as `Claim.serving`: of a model that learns its name, since its versions come and go."""
        model, version = self._serving.now(None).champion.model, self._decided
        if version is None and name_of(model) in self._names.batch:
            version = self._announced.get(model)
            return "" if version is None else version_text(model, version.epoch, version.examples)
        return name_of(model) if version is None else version_text(version.model, version.epoch, version.examples)

    def announced(self, model: str) -> VersionId | None:
        """Return the newest announced version of a model."""
        return self._announced.get(model)


def batch_rules(name: str, model: BatchModel) -> BatchRules:
    """Return the trainer's rules of a batch model."""
    return BatchRules(
        name,
        every_ms=model.every_ms,
        at_ms=model.at_ms,
        retrain_on=frozenset(model.retrain_on),
        not_more_than_ms=milliseconds(model.not_more_than),
        longest_ms=milliseconds(model.longest),
        deploy=model.deploy,
        warm_start=model.warm_start,
    )


def child_command(
    loaded: LoadedStream, settings: Settings, environ: Mapping[str, str] = os.environ, *, reads_store: bool = False
) -> ChildCommand:
    """Return how a training is started: with the same settings, and without secrets that it does not need.

    `reads_store` is true for one that asks or goes on from earlier versions, which may be in an object store.
    """
    needless = {
        getattr(target, each.name) for target in loaded.stream.notify for each in fields(target) if "_env" in each.name
    }

    def goes_with(name: str, value: str) -> bool:
        needed = _OF_KAFKA.search(name) or (reads_store and _OF_STORE.search(name))
        secret = _SECRET.search(name) or _WITH_PASSWORD.search(value)
        return name not in needless and bool(needed or not secret)

    kept = {name: value for name, value in {**environ, **settings.environment()}.items() if goes_with(name, value)}
    kept[TRAINER_PID] = str(os.getpid())
    return ChildCommand((sys.executable, "-P", "-m", "millstream.training.child"), kept)


@dataclass(frozen=True)
class LogTrainings:
    """Trainings on the examples log, each in a child process.

    Attributes
    ----------
    folder
        Where each training has a folder of its own.
    followed
        Knows what serves, and the newest announced version of a model, which retention keeps.
    log_id
        Id of the examples topic when this process started.
    """

    loaded: LoadedStream
    settings: Settings
    cluster: Cluster
    names: Names
    store: ModelStore
    folder: Path
    followed: Followed
    log_id: str

    def claim(self, job: Job, newest_epoch: int) -> Claim:
        """Return the range of the log for a job. Raises NoWork if it holds nothing."""
        topic, batch = self.names.topic("examples"), self.loaded.stream.batch[job.model]
        with closing(self.cluster.consumer()) as consumer:
            begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
            end = end if job.end is None else min(job.end, end)
            if job.begin is not None:
                begin = max(job.begin, begin)
            elif batch.window is not None:
                begin = max(begin, _window_begin(consumer, topic, begin, end, milliseconds(batch.window)))
        if begin >= end:
            raise NoWork(f"{topic} has no examples in this range: training begins once labels have come")
        model = self.loaded.of_model(job.model).model_id
        versions = self.store.versions(model)
        newest = versions[-1] if versions else None
        epoch = max(newest_epoch, 0 if newest is None else newest.epoch) + 1
        parent = version_text(model, newest.epoch, newest.examples) if newest and batch.warm_start else ""
        topic_id = self.cluster.topic_info(topic)[topic].id
        return Claim(epoch, topic_id, begin, end, parent, self.followed.to_ask())

    def start(self, job: Job, attempt: int, claim: Claim) -> Run:
        """Begin a training in a child process."""
        folder = self.folder / f"{job.model}-{claim.epoch}-{attempt}"
        # A job that was claimed before a backup goes on with the restored log, under the name that its version had.
        restored = claim.topic_id != self.log_id and self.store.is_copy(
            self.names.stream, self.log_id, claim.topic_id, claim.end
        )
        definition = definition_of(self.loaded.of_model(job.model))
        request = TrainingRequest(
            stream=str(self.loaded.path),
            model=job.model,
            job=job.id,
            attempt=attempt,
            topic_id=self.log_id if restored else claim.topic_id,
            begin=claim.begin,
            end=claim.end,
            parent=claim.parent,
            serving=claim.serving,
            folder=str(folder),
            definition=definition.hash,
            contract=definition.contract,
        )
        child = child_command(self.loaded, self.settings, reads_store=bool(claim.parent or claim.serving))
        return ChildRun(child, request, lambda result: self._finish(job, claim, result, folder))

    def _finish(self, job: Job, claim: Claim, result: TrainingResult, folder: Path) -> Trained:
        """Return the version of a result, signed and stored."""
        loaded = self.loaded.of_model(job.model)
        most = self.loaded.stream.batch[job.model].memory_bytes
        maker = VersionMaker(self.store, definition_of(loaded), loaded.stream.task, most_bytes=most)
        trained = maker.make(job, claim, result, folder)
        announced = self.followed.announced(loaded.model_id)
        keep = {VersionId.parse(trained.version, loaded.model_id), *([] if announced is None else [announced])}
        with contextlib.suppress(StoreError):  # what is not deleted now is deleted after the next training
            self.store.prune(loaded.model_id, loaded.stream.kept_versions, keep, trained=True)
        return trained


def _window_begin(consumer: Consumer, topic: str, begin: int, end: int, window_ms: int) -> int:
    """Return the first offset in the window before the newest record, by the broker's times of examples."""
    place, newest = Partition(topic, 0), None
    for record in topic_readers.between(consumer, place, max(begin, end - _NEWEST), end):
        newest = record
    if newest is None:
        return begin
    found = consumer.offsets_for_times({place: newest.timestamp - window_ms}, timeout_ms=_REQUEST_MS)[place]
    return begin if found is None else found
