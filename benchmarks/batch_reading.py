"""Reading for a training: records of the examples log into a matrix, against fastavro's bare decoding."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

import fastavro

from benchmarks import material
from benchmarks.figures import Figure, Spread, ratios
from benchmarks.predictor_process import processor_seconds
from benchmarks.rig import Broken, Rig
from benchmarks.throughput import Size
from consumers.model.learning_rules import LearningRules
from consumers.model.row_form import RowForm
from millstream.training.collecting import Collector
from runtime.kafka_client.records import PlainRecord
from schemas import codec
from schemas.contract import Contract
from schemas.target import Target

_EXAMPLES: Final = 45_000
_TOGETHER: Final = 500
_SCHEMA: Final = fastavro.parse_schema(codec.full_schema("Example"))
_RULES: Final = LearningRules(Target(task="binary"), Contract(), lambda: None, None, 1)


def batch_reading(rig: Rig, size: Size) -> list[Figure]:
    """Examples a second of processor time, with contract, bounds, chain and labels, up to the matrix of a frame."""
    values = list(material.examples(_EXAMPLES))
    records = [PlainRecord("examples", 0, place, 1050 + place, None, value) for place, value in enumerate(values)]
    made = matrix(records)
    if made.shape != (_EXAMPLES, len(material.rows()[0].features)):
        raise Broken(f"a matrix of {made.shape} was made of {_EXAMPLES} examples")
    rounds = [
        (processor_seconds(lambda: matrix(records)), processor_seconds(lambda: bare(values)))
        for _ in range(2 * size.rounds + 1)
    ]
    ours, theirs = (tuple(each[column] / _EXAMPLES * 1e6 for each in rounds) for column in range(2))
    absolute = {"ours, µs an example": Spread(ours), "fastavro, µs an example": Spread(theirs)}
    what = "reading 45,000 examples into a matrix: examples/s against fastavro's bare decoding"
    return [Figure("batch-reading", what, ratios(theirs, ours), "", "at least", 0.4, absolute)]


def matrix(records: list[PlainRecord]) -> Any:
    """Return the rows of records as a training gets them, as one matrix of doubles."""
    collector = Collector(_RULES, _EXAMPLES, 0)
    for begin in range(0, len(records), _TOGETHER):
        collector.take(records[begin : begin + _TOGETHER])
    features = collector.examples.features
    return RowForm.of("frame", features).matrix(features).to_numpy()


def bare(values: list[bytes]) -> list[Any]:
    """Decode every record into a list, as fastavro does it alone."""
    decoded = []
    for value in values:
        source = BytesIO(value)
        source.seek(codec.HEADER_BYTES)
        decoded.append(fastavro.schemaless_reader(source, _SCHEMA, None))
    return decoded
