"""Following the models topic: one thread reads it, keeps the newest state of each key, and loads versions.

The topic is public and compacted: records may be repeated, forged, or older than what is known. Nothing
from it is trusted but through the model store's signatures, and a version is only ever replaced by a newer
one, or by what a serving decision names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kafka import TopicPartition
from kafka.errors import KafkaError

from consumers.checkpoints import MODEL_FILE, Definition
from consumers.identity import Probes
from consumers.predictor import ServedVersion
from consumers.river_model import ModelError, wrap
from model_store import ModelStore, StoreError, VersionId
from schemas.cluster import Cluster, NoBroker
from schemas.codec import CodecError
from schemas.events import Decision, Learning, Published, Serving, read_model_update
from schemas.target import Task

_POLL_MS: Final = 200
_RETRY_SECONDS: Final = 1.0


class ModelsTopic:
    """The newest state of every key of a models topic, kept current by a thread.

    Parameters
    ----------
    changed
        Called in that thread, with all that is known, whenever something new has been read and nothing
        more is waiting: of a row of versions only the last is loaded.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        changed: Callable[[Mapping[str, Decision]], None],
        say: Callable[[str], None] = print,
    ) -> None:
        self._cluster = cluster
        self._topic = TopicPartition(topic, 0)
        self._changed = changed
        self._say = say
        self._state: dict[str, Decision] = {}
        self._current = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="models-topic", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
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
            except (KafkaError, NoBroker, OSError) as error:
                self._say(f"following {self._topic.topic}: {type(error).__name__}: {error}; trying again")
                self._stop.wait(_RETRY_SECONDS)

    def _read(self) -> None:
        consumer = self._cluster.consumer(group_id=None, fetch_max_wait_ms=_POLL_MS, request_timeout_ms=10_000)
        try:
            consumer.assign([self._topic])
            consumer.seek_to_beginning(self._topic)
            end = consumer.end_offsets([self._topic])[self._topic]
            news = False
            while not self._stop.is_set():
                polled = consumer.poll(timeout_ms=_POLL_MS)
                for record in polled.get(self._topic, ()):
                    news |= self._take(record)
                if consumer.position(self._topic) < end:
                    continue  # still history
                if news:
                    self._changed(dict(self._state))
                    news = False
                self._current.set()
        finally:
            consumer.close(autocommit=False, timeout_ms=1000)

    def _take(self, record: Any) -> bool:
        if record.value is None:
            return False  # a tombstone says nothing: states are replaced, never withdrawn
        try:
            state = read_model_update(record.value).state
        except CodecError as error:
            self._say(f"{self._topic.topic} offset {record.offset} is ignored: {error}")
            return False
        if record.key != state.key.encode():
            self._say(f"{self._topic.topic} offset {record.offset} is ignored: its key is not {state.key}")
            return False
        known = self._state.get(state.key)
        if isinstance(state, Published) and isinstance(known, Published) and _age(state) < _age(known):
            return False
        self._state[state.key] = state
        return True


def _age(published: Published) -> tuple[int, int]:
    return published.epoch, published.examples


@dataclass(frozen=True)
class Wanted:
    """Which version is to serve. `sha256` of its manifest, where it was announced."""

    version: VersionId
    sha256: str | None
    labels_from: int


def wanted(state: Mapping[str, Decision], model: str, shard: int) -> Wanted | None:
    """Decide what is to serve: what a serving decision names, else the newest that is published."""
    decision = state.get(f"serving/{shard}")
    if isinstance(decision, Serving):
        model = decision.model
        if decision.epoch is not None and decision.examples is not None:
            return Wanted(VersionId(model, decision.epoch, decision.examples), None, -1)
    newest = state.get(f"published/{model}/{shard}")
    if not isinstance(newest, Published):
        return None
    return Wanted(VersionId(model, newest.epoch, newest.examples), newest.manifest_sha256, newest.labels_from)


class VersionFeed:
    """Loads what is to serve, in the background; what serves stays until the next one is proven.

    Parameters
    ----------
    task
        Of the stream.
    definition
        The stream's own model id, and what its pickles may name.
    """

    def __init__(
        self,
        store: ModelStore,
        definition: Definition,
        task: Task,
        shard: int = 0,
        say: Callable[[str], None] = print,
    ) -> None:
        self._store = store
        self._definition = definition
        self._task: Task = task
        self._shard = shard
        self._say = say
        self._serving: ServedVersion | None = None
        self._refused: set[tuple[VersionId, str | None]] = set()

    def newest(self) -> ServedVersion | None:
        """Return what is to serve now."""
        return self._serving

    def follow(self, state: Mapping[str, Decision]) -> None:
        """Take the newest state of the models topic: load, verify and try what it asks for."""
        target = wanted(state, self._definition.model, self._shard)
        if target is None or self._serves(target.version) or (target.version, target.sha256) in self._refused:
            return
        try:
            self._serving = self._load(target)
        except (StoreError, ModelError) as error:
            self._refused.add((target.version, target.sha256))
            now = "nothing serves yet" if self._serving is None else f"{self._name()} serves on"
            self._say(f"version {target.version} is refused, {now}: {error}")

    def _serves(self, version: VersionId) -> bool:
        serving = self._serving
        return serving is not None and (serving.name, serving.epoch, serving.examples) == (
            version.model,
            version.epoch,
            version.examples,
        )

    def _name(self) -> str:
        assert self._serving is not None  # noqa: S101
        return f"{self._serving.epoch}/{self._serving.examples}"

    def _load(self, target: Wanted) -> ServedVersion:
        manifest = self._store.manifest(target.version, sha256=target.sha256)
        model = self._store.load(manifest, MODEL_FILE, extra_allowed=self._definition.allowed)
        face = wrap(model, self._task)
        # A probe: whatever the model answers to an event without features, it must not be an infinity.
        probes = Probes()
        probes.add({})
        _try(face)
        now = time.time_ns() // 1_000_000
        delay = now - target.labels_from if target.labels_from >= 0 else None
        return ServedVersion(face, target.version.model, target.version.epoch, target.version.examples, now, delay)


def _try(face: Any) -> None:
    try:
        face.predict({})
    except ModelError:
        raise
    except Exception as error:
        # Some models refuse an event without features, which real events are not.
        if isinstance(error, (KeyError, ValueError, IndexError, ZeroDivisionError, TypeError)):
            return
        raise ModelError(f"it does not answer: {type(error).__name__}: {error}") from error


class PauseSwitch:
    """The learner's view of the models topic: whether learning is paused, and which version serves."""

    def __init__(self, model: str, shard: int = 0, say: Callable[[str], None] = print) -> None:
        self._model = model
        self._shard = shard
        self._say = say
        self._paused = False
        self._protected: set[VersionId] = set()

    def follow(self, state: Mapping[str, Decision]) -> None:
        """Take the newest state of the models topic."""
        decision = state.get(f"learning/{self._shard}")
        paused = isinstance(decision, Learning) and decision.paused
        if paused != self._paused:
            self._say("learning is paused" if paused else "learning goes on")
        self._paused = paused
        target = wanted(state, self._model, self._shard)
        self._protected = set() if target is None else {target.version}

    def is_paused(self) -> bool:
        """Tell whether learning is paused."""
        return self._paused

    def protected(self) -> set[VersionId]:
        """Return the versions that serve: retention keeps them."""
        return self._protected
