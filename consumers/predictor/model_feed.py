"""Following the models topic: one thread reads it, keeps what it says, and has versions loaded.

The topic is public and compacted: records may be repeated, reordered, forged, or older than what is known.
Nothing from it is trusted but through the model store's signatures, and a version is only ever replaced by
a newer one, or by what a serving decision names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from consumers.loop.instrumentation import Meter
from consumers.model.checkpoints import MODEL_FILE, Definition
from consumers.model.river_model import ModelError, RiverModel
from consumers.model.version_runtime import RunWith, try_out
from consumers.predictor.label_freshness import LabelNews
from consumers.predictor.model_process import LARGE_BYTES
from consumers.predictor.predictor import ServedVersion
from model_store import BadSignature, InvalidVersion, Manifest, ModelStore, StoreError, VersionId, VersionRefused
from model_store.gil_pause import Breather, no_breath
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import described
from runtime.kafka_client.records import Partition, Record
from schemas.codec import CodecError
from schemas.events import Adopted, Learning, Published, Serving, read_model_update
from schemas.target import Task

_POLL_MS: Final = 200
_RETRY_SECONDS: Final = 1.0
_LONGEST_RETRY_SECONDS: Final = 60.0
_SAID_IN_FULL: Final = 20  # records that are ignored; after that every thousandth is told
_CANDIDATES: Final = 32


class UnusableRecord(ValueError):  # noqa: N818
    """A record of the models topic that says nothing; the message says why."""


@dataclass(frozen=True)
class Announced:
    """A version that is said to be there, and what its manifest is said to hash to."""

    version: VersionId
    sha256: str


class Known:
    """What a models topic has said so far.

    Of decisions the last one counts. Of announcements the newest and the last few are kept, for any of them
    may be forged or repeated: which is true is only seen in the store.
    """

    def __init__(self) -> None:
        self._serving: dict[int, Serving] = {}
        self._learning: dict[int, Learning] = {}
        self._adopted: dict[int, VersionId] = {}
        self._announced: dict[tuple[str, int], dict[Announced, None]] = {}

    def take(self, key: bytes | None, value: bytes | None) -> bool:
        """Take one record in, and tell whether it said anything.

        Raises
        ------
        UnusableRecord
            Where it is none of ours, or stands under another's key.
        """
        if value is None:
            return False  # a tombstone says nothing: states are replaced, never withdrawn
        try:
            state = read_model_update(value).state
            if key != state.key.encode():
                raise UnusableRecord(f"its key is not {state.key[:100]}")
            if isinstance(state, Published):
                self._announce(state)
            elif isinstance(state, Serving):
                _named(state)
                self._serving[state.shard] = state
            elif isinstance(state, Adopted):
                self._adopted[state.shard] = VersionId(state.model, state.epoch, state.examples)
            else:
                self._learning[state.shard] = state
        except (CodecError, InvalidVersion) as error:
            raise UnusableRecord(str(error)) from error
        return True

    def _announce(self, state: Published) -> None:
        said = Announced(VersionId(state.model, state.epoch, state.examples), state.manifest_sha256)
        before = self._announced.setdefault((state.model, state.shard), {})
        before.pop(said, None)
        before[said] = None  # now the last
        if len(before) > 4 * _CANDIDATES:
            last = [*before]
            stay = {*sorted(last, key=lambda one: one.version)[-_CANDIDATES:], *last[-_CANDIDATES:]}
            self._announced[state.model, state.shard] = {one: None for one in last if one in stay}

    def learning(self, shard: int) -> Learning | None:
        """Return the last decision on learning."""
        return self._learning.get(shard)

    def adopted(self, shard: int) -> VersionId | None:
        """Return the version made anew that the learner was last told to go on from."""
        return self._adopted.get(shard)

    def decided(self, shard: int) -> VersionId | None:
        """Return the version that is to serve by decision, `None` where it is to be the newest."""
        decision = self._serving.get(shard)
        return None if decision is None else _named(decision)

    def announced(self, model: str, shard: int) -> list[Announced]:
        """Return what is announced of the model that is to serve, `model` where none is named; newest first."""
        decision = self._serving.get(shard)
        wanted = model if decision is None else decision.model
        last_first = reversed(self._announced.get((wanted, shard), {}))
        return sorted(last_first, key=lambda one: one.version, reverse=True)


def _named(decision: Serving) -> VersionId | None:
    named = VersionId(decision.model, decision.epoch or 0, decision.examples or 0)
    return None if decision.epoch is None or decision.examples is None else named


class ModelsTopic:
    """All that a models topic says, kept current by a thread.

    Parameters
    ----------
    changed
        Called in that thread, with all that is known, whenever something new has been read and nothing
        more is waiting (of a row of versions only the last is loaded), and every second besides: what
        could not be done may be possible now.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        changed: Callable[[Known], None],
        say: Callable[[str], None] = print,
    ) -> None:
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
            except Exception as error:  # noqa: BLE001 - whatever it is: a thread that ended would follow nothing, unseen
                self._say(f"following {self._topic.topic}: {described(error)}; trying again")
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
                    continue  # still history
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
    """Loads what is to serve, in the background; what serves stays until the next one is proven.

    Parameters
    ----------
    task
        Of the stream.
    definition
        The stream's own model id, and what its pickles may name.
    clock
        Seconds, monotonic.
    start_process
        Has a large version answer from a process of its own; without it all are loaded here.
    choose
        Says what a version is run with, or refuses it; without it that is the process's own code.
    meter
        Hears of every version that is to serve, in the thread that loaded it.
    """

    def __init__(
        self,
        store: ModelStore,
        definition: Definition,
        task: Task,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
        start_process: Callable[[Manifest, str | None], RiverModel] | None = None,
        meter: Meter | None = None,
        choose: Callable[[Manifest], RunWith] | None = None,
    ) -> None:
        self._store = store
        self._definition = definition
        self._choose = choose or (lambda manifest: RunWith.own(self._definition))
        self._task: Task = task
        self._shard = 0  # a stream's model has one so far
        self._say = say
        self._clock = clock
        self._start_process = start_process
        self._meter = meter or Meter()
        self._serving: ServedVersion | None = None
        self._news = LabelNews()
        self._by_decision = False  # whether what serves was named, and so need not be the newest
        self._refused: set[tuple[VersionId, str | None]] = set()
        self._said = ""  # why the last one was refused, without its name
        self._retries: dict[tuple[VersionId, str | None], _Retry] = {}

    def newest(self) -> ServedVersion | None:
        """Return what is to serve now."""
        return self._serving

    def follow(self, known: Known) -> None:
        """Take what the models topic says: load, verify and try what it asks for, best first. Never raises."""
        for version, sha256 in self._wanted(known):
            retry = self._retries.get((version, sha256))
            if (version, sha256) in self._refused or (retry is not None and self._clock() < retry.at):
                continue
            began = self._clock()
            try:
                self._serving = loaded = self._load(version, sha256)
            except BaseException as error:  # noqa: BLE001 - River's compiled parts panic with no `Exception`
                self._failed(version, sha256, error, self._clock() - began)
            else:
                self._by_decision, self._said = sha256 is None, ""
                self._retries.clear()
                self._meter.swapped(loaded)
                return

    def _wanted(self, known: Known) -> Iterator[tuple[VersionId, str | None]]:
        """Yield what should serve rather than what does."""
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
        return None if serving is None else VersionId(serving.name, serving.epoch, serving.examples)

    def _failed(self, version: VersionId, sha256: str | None, error: BaseException, took: float) -> None:
        """Say it once. What is missing, unreachable or of an unknown key may come; what is bad stays bad.

        What took long is left alone for as long: meanwhile nothing that is announced or decided was followed.
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
        # Of a row of versions that are refused for one reason, as for their code, the first is enough.
        reason = what.replace(str(version), "")
        if reason != self._said:
            self._said = reason
            self._say(f"version {version} is refused, {now}: {what}")

    def _load(self, version: VersionId, sha256: str | None) -> ServedVersion:
        manifest = self._store.manifest(version, sha256=sha256)
        file = manifest.files.get(MODEL_FILE)
        run_with = self._choose(manifest)
        if self._start_process is not None and file is not None and file.size >= LARGE_BYTES:
            face = run_with.narrowed(self._start_process(manifest, sha256))
        else:
            face = self._load_here(manifest, run_with)
        now = time.time_ns() // 1_000_000
        oldest = self._news.oldest(self._version(), manifest)
        # Only what was announced now has news; and the time is from the signed manifest.
        delay = now - oldest if oldest is not None and sha256 is not None else None
        return ServedVersion(face, version.model, version.epoch, version.examples, now, delay)

    def _load_here(self, manifest: Manifest, run_with: RunWith) -> RiverModel:
        # Before the first version nobody waits for an answer that could be late.
        breath = no_breath if self._serving is None else Breather()
        allowed, find = run_with.allowed, run_with.find
        model = self._store.load(manifest, MODEL_FILE, extra_allowed=allowed, find=find, breath=breath)
        face = run_with.face(model, self._task)
        try_out(face, manifest)
        return face


class PauseSwitch:
    """The learner's view of the models topic: whether learning is paused, and which version serves."""

    def __init__(self, model: str, shard: int = 0, say: Callable[[str], None] = print) -> None:
        self._model = model
        self._shard = shard
        self._say = say
        self._paused = False
        self._adopted: VersionId | None = None
        self._protected: frozenset[VersionId] = frozenset()

    def follow(self, known: Known) -> None:
        """Take what the models topic says."""
        decision = known.learning(self._shard)
        paused = decision is not None and decision.paused
        if paused != self._paused:
            self._say("learning is paused" if paused else "learning goes on")
        self._paused = paused
        adopted = known.adopted(self._shard)
        self._adopted = adopted if adopted is not None and adopted.model == self._model else None
        decided = known.decided(self._shard)
        announced = known.announced(self._model, self._shard)
        self._protected = frozenset({decided} if decided else (one.version for one in announced[:1]))

    def is_paused(self) -> bool:
        """Tell whether learning is paused."""
        return self._paused

    def adopted(self) -> VersionId | None:
        """Return the version made anew that learning is to go on from, if somebody has decided so."""
        return self._adopted

    def protected(self) -> set[VersionId]:
        """Return the versions that serve: retention keeps them."""
        return set(self._protected)
