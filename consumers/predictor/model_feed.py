"""Model feed: a thread that follows the models topic, keeps its state and loads versions.

The topic is public and compacted: records may be repeated, reordered, forged or outdated. Only the model store's
signatures are trusted. A version is only replaced by a newer one, or by the version that a serving decision names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from consumers.model.checkpoints import PROBE, Definition
from consumers.model.models_topic_state import Known, UnusableRecord
from consumers.model.river_model import ModelError, RiverModel
from consumers.model.version_loader import VersionLoader
from consumers.model.version_runtime import RunWith
from consumers.predictor.instrumentation import PredictorMeter
from consumers.predictor.label_freshness import LabelNews
from consumers.predictor.predictor import ServedVersion
from model_store import BadSignature, Manifest, ModelStore, StoreError, VersionId, VersionRefused
from model_store.gil_pause import Breather, no_breath
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import described
from runtime.kafka_client.records import Partition, Record
from schemas.target import Task

_POLL_MS: Final = 1000  # an announcement ends the wait at once
_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60.0
_SAID_IN_FULL: Final = 20  # ignored records reported one by one; after that every thousandth


class ModelsTopic:
    """The state of a models topic, kept current by a thread.

    Parameters
    ----------
    changed
        Called in that thread with the whole state, when new records have been read and no more are waiting (so only the
        last of several versions is loaded). It is also called every second, because an earlier failure may be over.
    cannot_follow
        Takes one line each time that the topic cannot be read, which is then tried again; by default as `say` does.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        changed: Callable[[Known], None],
        say: Callable[[str], None] = print,
        cannot_follow: Callable[[str], None] | None = None,
    ) -> None:
        self._cannot_follow = cannot_follow or say
        self._cluster = cluster
        self._topic = Partition(topic, 0)
        self._changed = changed
        self._say = say
        self._known = Known()
        self._ignored = 0
        self._current = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="models-topic", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wait_until_current(self, timeout: float) -> bool:
        """Wait until everything that was on the topic at the start has been read."""
        return self._current.wait(timeout)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except Exception as error:  # noqa: BLE001 - if the thread ended, nobody would notice
                self._cannot_follow(f"following {self._topic.topic}: {described(error)}; trying again")
                self._stop.wait(_RETRY_SECONDS)

    def _read(self) -> None:
        consumer = self._cluster.consumer(fetch_max_wait_ms=_POLL_MS, request_timeout_ms=10_000)
        try:
            consumer.assign([self._topic])
            consumer.seek_to_beginning([self._topic])
            end = consumer.end_offsets([self._topic])[self._topic]
            due = 0.0
            while not self._stop.is_set():
                polled = consumer.poll(timeout_ms=_POLL_MS)
                for record in polled.get(self._topic, ()):
                    if self._take(record):
                        due = 0.0
                if consumer.position(self._topic) < end:
                    continue  # still reading old records
                if time.monotonic() >= due:
                    self._changed(self._known)
                    due = time.monotonic() + _RETRY_SECONDS
                self._current.set()
        finally:
            consumer.close(timeout_ms=1000)

    def _take(self, record: Record) -> bool:
        try:
            return self._known.take(record.key, record.value)
        except UnusableRecord as error:
            self._ignored += 1
            if self._ignored <= _SAID_IN_FULL:
                self._say(f"{self._topic.topic} offset {record.offset} is ignored: {error}")
            elif self._ignored % 1000 == 0:
                self._say(f"{self._topic.topic}: {self._ignored} records are ignored, the last at {record.offset}")
            return False


@dataclass
class _Retry:
    at: float
    wait: float


class VersionFeed:
    """Loads the version to serve in the background; the old version serves until the new one is verified.

    Parameters
    ----------
    task
        Task of the stream.
    definition
        The stream's own model id, and the names that its pickles may use.
    clock
        Seconds, monotonic.
    start_process
        Starts a separate process for a large version; without it all versions are loaded here.
    choose
        Chooses the code that runs a version, or refuses it; without it the process's own code is used.
    meter
        Counts every version that is about to serve, in the thread that loaded it.
    """

    def __init__(
        self,
        store: ModelStore,
        definition: Definition,
        task: Task,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
        start_process: Callable[[Manifest, str | None], RiverModel] | None = None,
        meter: PredictorMeter | None = None,
        choose: Callable[[Manifest], RunWith] | None = None,
    ) -> None:
        self._store = store
        self._definition = definition
        choose = choose or (lambda manifest: RunWith.own(self._definition))
        self._loader = VersionLoader(store, task, choose, start_process)
        self._shard = 0  # every model has a single shard so far
        self._say = say
        self._clock = clock
        self._meter = meter or PredictorMeter()
        self._serving: ServedVersion | None = None
        self._news = LabelNews()
        self._by_decision = False  # true if a decision named the served version, which then need not be the newest
        self._refused: set[tuple[VersionId, str | None]] = set()
        self._said = ""  # reason of the last refusal, without the version's name
        self._retries: dict[tuple[VersionId, str | None], _Retry] = {}

    @property
    def model(self) -> str:
        """Id of the stream's own model, which serves unless a decision names another."""
        return self._definition.model

    def newest(self) -> ServedVersion | None:
        """Return the version to serve now."""
        return self._serving

    def follow(self, known: Known) -> None:
        """Load, verify and try the versions that the models topic asks for, best first. Never raises."""
        for version, sha256 in self._wanted(known):
            retry = self._retries.get((version, sha256))
            if (version, sha256) in self._refused or (retry is not None and self._clock() < retry.at):
                continue
            began = self._clock()
            try:
                self._serving = loaded = self._load(version, sha256)
            except BaseException as error:  # noqa: BLE001 - River's compiled parts panic with a BaseException
                self._failed(version, sha256, error, self._clock() - began)
            else:
                self._by_decision, self._said = sha256 is None, ""
                self._retries.clear()
                self._meter.swapped(loaded)
                return

    def _wanted(self, known: Known) -> Iterator[tuple[VersionId, str | None]]:
        """Yield the versions that should serve instead of the current one."""
        serving = self._version()
        decided = known.decided(self._shard)
        if decided is not None:
            if decided != serving:
                yield decided, None
            return
        for announced in known.announced(self._definition.model, self._shard):
            version = announced.version
            if version == serving:
                self._by_decision = False
            if serving is None or serving.model != version.model or serving < version or self._by_decision:
                yield version, announced.sha256

    def _version(self) -> VersionId | None:
        serving = self._serving
        return None if serving is None else serving.id

    def _failed(self, version: VersionId, sha256: str | None, error: BaseException, took: float) -> None:
        """Report a failure once. A missing, unreachable or unknown-key version is tried again, a bad one is not.

        A version that took long to fail is next tried after as long a pause, because no announcement or decision was
        followed during the attempt.
        """
        key = (version, sha256)
        now = "nothing serves yet" if self._serving is None else f"{self._version()} serves on"
        what = str(error) if isinstance(error, (StoreError, ModelError)) else f"{type(error).__name__}: {error}"
        if not isinstance(error, StoreError) or (
            isinstance(error, VersionRefused) and not isinstance(error, BadSignature)
        ):
            self._refused.add(key)
            self._retries.pop(key, None)
        else:
            before = self._retries.get(key)
            wait = _RETRY_SECONDS if before is None else min(before.wait * 2, _LONGEST_RETRY_SECONDS)
            self._retries[key] = _Retry(self._clock() + max(wait, took), wait)
            if before is not None:
                return
        # If several versions in a row are refused for the same reason, such as their code, only the first is reported.
        reason = what.replace(str(version), "")
        if reason != self._said:
            self._said = reason
            self._say(f"version {version} is refused, {now}: {what}")

    def _load(self, version: VersionId, sha256: str | None) -> ServedVersion:
        manifest = self._store.manifest(version, sha256=sha256)
        # Before the first version no answers are due, so loading need not pause.
        breath = no_breath if self._serving is None else Breather()
        face, apart = self._loader.load(manifest, sha256, breath)
        now = time.time_ns() // 1_000_000
        oldest = self._news.oldest(self._version(), manifest)
        # Only a version announced now has news. The time comes from the signed manifest.
        delay = now - oldest if oldest is not None and sha256 is not None else None
        probes = manifest.extra.get(PROBE, ())
        return ServedVersion(face, version.model, version.epoch, version.examples, now, delay, probes, apart)


class PauseSwitch:
    """The learner's view of the models topic: pauses of learning, and the version that serves."""

    def __init__(self, model: str, shard: int = 0, say: Callable[[str], None] = print) -> None:
        self._model = model
        self._shard = shard
        self._say = say
        self._paused = False
        self._adopted: VersionId | None = None
        self._protected: frozenset[VersionId] = frozenset()

    def follow(self, known: Known) -> None:
        """Apply the state of the models topic."""
        decision = known.learning(self._model, self._shard)
        paused = decision is not None and decision.paused
        if paused != self._paused:
            self._say("learning is paused" if paused else "learning goes on")
        self._paused = paused
        self._adopted = known.adopted(self._model, self._shard)
        decided = known.decided(self._shard)
        # The newest version of a model that does not serve answers in the shadow, and may be promoted.
        newest = [one.version for one in known.announced_of(self._model, self._shard)[:1]]
        self._protected = frozenset([decided] if decided is not None and decided.model == self._model else newest)

    def is_paused(self) -> bool:
        """Return whether learning is paused."""
        return self._paused

    def adopted(self) -> VersionId | None:
        """Return the rebuilt version that learning must continue from, if an operator has decided so."""
        return self._adopted

    def protected(self) -> set[VersionId]:
        """Return the versions that serve, which retention must keep."""
        return set(self._protected)
