"""The shadow role's own work without Kafka, by processor time, against a bare loop that asks the same models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from io import BytesIO
from typing import Any, Final

import fastavro
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks import material
from benchmarks.figures import Figure, Spread, ratios
from benchmarks.predictor_process import InMemory, processor_seconds
from benchmarks.rig import PARTITIONS, Broken, Rig
from benchmarks.throughput import Size
from consumers.loop.processor import Assignment
from consumers.model.checkpoints import MODEL_FILE
from consumers.model.version_loader import VersionLoader
from consumers.model.version_runtime import RunWith
from consumers.shadow.announcements import Announcements
from consumers.shadow.shadow import Shadows, ShadowSettings
from consumers.shadow.versions import ChallengerVersions
from model_store import Draft, MemoryBackend, ModelStore, Signer, Trust, VersionId, dumps
from runtime.kafka_client.records import Output, Partition
from schemas import codec
from schemas.comparisons import read_shadow
from schemas.fast_examples import PredictionReader
from schemas.model_updates import ModelUpdate, Published
from schemas.topics import SHADOWS, Names

_MODELS: Final = ("lr", "hat")
_NAMES: Final = Names("elec", models=_MODELS)
_BATCH: Final = 500  # records of a partition: a poll of 2,000
_LEARNED: Final = 3000
_BEFORE_MS: Final = 1000  # by which the versions were announced before the predictions
_PREDICTION: Final = fastavro.parse_schema(codec.full_schema("Prediction"))

_Batch = Mapping[Partition, Sequence[InMemory]]


class _Announced:
    """One version of each challenger, announced before all predictions; the role is never behind."""

    def __init__(self, records: Sequence[InMemory]) -> None:
        self._records = records

    def current(self) -> Iterator[InMemory]:
        yield from self._records

    def seek(self, time: int) -> None:
        """Do nothing: all announcements are older than any prediction."""

    def before(self) -> Iterator[InMemory]:
        yield from ()

    def further(self) -> Iterator[InMemory]:
        yield from ()

    def later(self, times: Mapping[Partition, int]) -> Set[Partition]:
        return frozenset()

    def first_after(self, times: Mapping[Partition, int]) -> Mapping[Partition, int | None]:
        return dict.fromkeys(times)


def shadow(rig: Rig, size: Size) -> list[Figure]:
    """Events a second of processor time with two challengers, against decode and ask by hand in one loop."""
    models = {name: material.MODELS[name]() for name in _MODELS}
    for _, row in material.cycle(_LEARNED):
        for model in models.values():
            model.learn_one(row.features, row.label)
    now = time.time_ns() // 1_000_000
    role, batches = _role(models, now), _batches(size.events, now)
    _compare(role, models, batches[0])
    features = [row.features for _, row in material.cycle(size.events)]
    reader = PredictionReader()
    rounds: list[tuple[float, ...]] = []
    for _ in range(2 * size.rounds + 1):
        works: list[Callable[[], object]] = [
            lambda: [role.process(batch) for batch in batches],
            lambda: [_by_hand(models, batch) for batch in batches],
            lambda: [_with_reader(reader, models, batch) for batch in batches],
            lambda: [_asked(models, each) for each in features],
        ]
        rounds.append(tuple(processor_seconds(work) / size.events * 1e6 for work in works))
    ours, bare, quick, alone = (tuple(one[column] for one in rounds) for column in range(4))
    what = (
        "shadow role in process, two challengers (logistic regression, HoeffdingAdaptiveTree): events/s against decode "
        "and ask the same models by hand, by processor time"
    )
    absolute = {
        "ours, µs an event": Spread(ours),
        "by hand, µs": Spread(bare),
        "by hand with Millstream's decoder, µs": Spread(quick),
        "the models alone, µs": Spread(alone),
    }
    return [Figure("shadow", what, ratios(bare, ours), "", "at least", 0.6, absolute)]


def _role(models: Mapping[str, Any], now: int) -> Shadows:
    signer = Signer(Ed25519PrivateKey.generate())
    store = ModelStore(MemoryBackend(), Trust.of(signer.public), signer)
    announced = [_publish(store, f"{_NAMES.stream}.{name}", model, now) for name, model in models.items()]
    log = _Announced(announced)
    loader = VersionLoader(store, "binary", lambda manifest: RunWith())
    versions = ChallengerVersions(Announcements(log, _NAMES.model_ids), loader)
    role = Shadows(ShadowSettings(_NAMES, _NAMES.model_ids, PARTITIONS), versions, log)
    places = [Partition(_NAMES.whole, number) for number in range(PARTITIONS)]
    begin = dict.fromkeys(places, 0)
    role.assigned(Assignment(dict.fromkeys(places), begin, begin, {_NAMES.whole: "id"}))
    return role


def _publish(store: ModelStore, model: str, made: Any, now: int) -> InMemory:
    """Write a version, and return its announcement."""
    version, at = VersionId(model, 1, _LEARNED), now - _BEFORE_MS
    draft = Draft(
        version=version,
        topic_id="",
        offset=0,
        examples=_LEARNED,
        chain="",
        fingerprint="",
        definition="",
        contract="",
        created_at_ms=at,
    )
    store.publish(draft, {MODEL_FILE: dumps(made)})
    state = Published(model, 0, 1, _LEARNED, "", 0, store.manifest_sha256(version), -1, -1, {})
    return InMemory(_NAMES.topic("models"), 0, 0, at, state.key.encode(), ModelUpdate(at, state).encode())


def _batches(count: int, now: int) -> list[_Batch]:
    records: dict[Partition, list[InMemory]] = {Partition(_NAMES.whole, number): [] for number in range(PARTITIONS)}
    for number, row in material.cycle(count):
        place = Partition(_NAMES.whole, number % PARTITIONS)
        key, value = material.event_id(number).encode(), material.prediction(number, row)
        records[place].append(InMemory(place.topic, place.partition, len(records[place]), now, key, value))
    longest = max(map(len, records.values()))
    return [
        {place: several[at : at + _BATCH] for place, several in records.items()} for at in range(0, longest, _BATCH)
    ]


def _asked(models: Mapping[str, Any], features: Mapping[str, Any]) -> list[dict[bool, float]]:
    """Return the shares of each model; the class of the larger one is its decision, so the role asks no more either."""
    return [model.predict_proba_one(features) for model in models.values()]


def _by_hand(models: Mapping[str, Any], batch: _Batch) -> list[list[dict[bool, float]]]:
    """Return the answers to a batch, without times, versions, shares of events and records to write."""
    made = []
    for records in batch.values():
        for record in records:
            source = BytesIO(record.value)
            source.seek(codec.HEADER_BYTES)
            prediction: Any = fastavro.schemaless_reader(source, _PREDICTION, None)
            made.append(_asked(models, prediction["event"]["features"]))
    return made


def _with_reader(reader: PredictionReader, models: Mapping[str, Any], batch: _Batch) -> list[list[dict[bool, float]]]:
    """Return the same, decoded as the learner decodes examples, which is faster than fastavro."""
    every = (record for records in batch.values() for record in records)
    return [_asked(models, reader.features(record.value)) for record in every]


def _compare(role: Shadows, models: Mapping[str, Any], batch: _Batch) -> None:
    """Raise Broken unless both say the same of the first events."""
    outputs: list[Output] = [each for each in role.process(batch) if each.topic == _NAMES.topic(SHADOWS) and each.key]
    for output, shares in zip(outputs, _by_hand(models, batch), strict=True):
        found = read_shadow(output.value or b"")
        theirs = [{str(label).lower(): share for label, share in each.items()} for each in shares]
        if [each.probabilities for each in found.challengers] != theirs:
            raise Broken(f"the loop by hand answers {found.event.event_id} otherwise than the shadow role")
