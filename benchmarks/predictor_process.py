"""A predictor's own work without Kafka, by processor time: records in, records out, against the same by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from typing import Any, Final, NamedTuple

import fastavro

from benchmarks import material
from benchmarks.figures import Figure, Spread, ratios
from benchmarks.rig import PARTITIONS, Broken, Rig
from benchmarks.throughput import Size
from consumers.loop.processor import Assignment
from consumers.model.river_model import RiverModel, wrap
from consumers.predictor.predictor import Predictor, PredictorSettings, ServedVersion
from runtime.kafka_client.records import Output, Partition
from schemas import codec
from schemas.contract import Contract
from schemas.events import read_prediction
from schemas.topics import Names

_NAMES: Final = Names("elec")
_TOPIC: Final = _NAMES.topic("features")
_BATCH: Final = 500  # records of a partition: a poll of 2,000
_LEARNED: Final = 3000
_FIRST_OFFSET: Final = 1_000_000
_EVENT: Final = fastavro.parse_schema(codec.full_schema("Event"))
_PREDICTION: Final = fastavro.parse_schema(codec.full_schema("Prediction"))


class InMemory(NamedTuple):
    """A record as a consumer returns it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


class _OneVersion:
    def __init__(self, served: ServedVersion) -> None:
        self._served = served

    def newest(self) -> ServedVersion:
        return self._served


Batch = Mapping[Partition, Sequence[InMemory]]


def predictor_process(rig: Rig, size: Size) -> list[Figure]:
    """Events a second of processor time, against decode, `predict_proba_one` and encode by hand in one loop."""
    batches = batches_of(size.events)
    features = [row.features for _, row in material.cycle(size.events)]
    model = material.MODELS["lr"]()
    for _, row in material.cycle(_LEARNED):
        model.learn_one(row.features, row.label)
    predictor = predictor_of(wrap(model, "binary"))
    _compare(predictor, model, batches[0])
    rounds: list[tuple[float, float, float]] = []
    for _ in range(2 * size.rounds + 1):
        ours = processor_seconds(lambda: [predictor.process(batch) for batch in batches])
        bare = processor_seconds(lambda: [_by_hand(model, batch) for batch in batches])
        alone = processor_seconds(lambda: [model.predict_proba_one(each) for each in features])
        rounds.append((ours, bare, alone))
    each = [tuple(seconds / size.events * 1e6 for seconds in one) for one in rounds]
    ours, bare, alone = (tuple(one[column] for one in each) for column in range(3))
    what = "predictor in process: events/s against decode, predict and encode by hand, by processor time"
    absolute = {
        "ours, µs an event": Spread(ours),
        "by hand, µs": Spread(bare),
        "the model alone, µs": Spread(alone),
        "ours without the model, µs": Spread(tuple(mine - its for mine, its in zip(ours, alone, strict=True))),
    }
    return [Figure("predictor-process", what, ratios(bare, ours), "", "at least", 0.6, absolute)]


def processor_seconds(work: Callable[[], object]) -> float:
    """Return the processor time of this process while it works."""
    began = time.process_time()
    work()
    return time.process_time() - began


def batches_of(count: int) -> list[Batch]:
    """Return batches of so many events as a consumer returns them: 500 of each partition."""
    now = time.time_ns() // 1_000_000
    records: dict[Partition, list[InMemory]] = {Partition(_TOPIC, number): [] for number in range(PARTITIONS)}
    for number, row in material.cycle(count):
        event, place = material.event(number, row), Partition(_TOPIC, number % PARTITIONS)
        offset = _FIRST_OFFSET + len(records[place])
        key = event.event_id.encode()
        records[place].append(InMemory(_TOPIC, place.partition, offset, now, key, event.encode()))
    longest = max(map(len, records.values()))
    return [
        {place: several[at : at + _BATCH] for place, several in records.items()} for at in range(0, longest, _BATCH)
    ]


def predictor_of(model: RiverModel) -> Predictor:
    """Return a predictor that serves a model."""
    now = time.time_ns() // 1_000_000
    served = ServedVersion(model, "elec", 1, _LEARNED, now, None)
    predictor = Predictor(PredictorSettings(_NAMES, Contract(), PARTITIONS), _OneVersion(served))
    places = [Partition(_TOPIC, number) for number in range(PARTITIONS)]
    begin = dict.fromkeys(places, 0)
    predictor.assigned(Assignment(dict.fromkeys(places), begin, begin, {_TOPIC: "id"}))
    predictor.tick(now)
    return predictor


def _by_hand(model: Any, batch: Batch) -> list[bytes]:
    """Return what the predictor sends, without its checks, headers, errors, keys and partitions."""
    made = []
    now = time.time_ns() // 1_000_000
    for place, records in batch.items():
        for record in records:
            source = BytesIO(record.value)
            source.seek(codec.HEADER_BYTES)
            event: Any = fastavro.schemaless_reader(source, _EVENT, None)
            shares = model.predict_proba_one(event["features"])
            outcome = {
                "prediction": shares[True] > shares[False],
                "probabilities": {"false": shares[False], "true": shares[True]},
                "model": "elec",
                "epoch": 1,
                "examples": _LEARNED,
                "predicted_at": now,
                "source_topic": place.topic,
                "source_partition": place.partition,
                "source_offset": record.offset,
                "error": None,
                "role": "serving",
                "status": "ok",
            }
            sink = BytesIO()
            sink.write(codec.PREDICTION.header)
            fastavro.schemaless_writer(sink, _PREDICTION, {"event": event, "outcome": outcome})
            made.append(sink.getvalue())
    return made


def _compare(predictor: Predictor, model: Any, batch: Batch) -> None:
    """Raise Broken unless both say the same of the first events."""
    outputs: list[Output] = predictor.process(batch)
    for output, other in zip(outputs, _by_hand(model, batch), strict=True):
        ours, theirs = read_prediction(output.value or b""), read_prediction(other)
        same = ours.event.features == theirs.event.features and ours.event.event_id == theirs.event.event_id
        if not same or ours.outcome.probabilities != theirs.outcome.probabilities:
            raise Broken(f"the loop by hand answers {ours.event.event_id} otherwise than the predictor")
