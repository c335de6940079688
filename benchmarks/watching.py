"""What the monitor costs: those who serve beside it, and itself, for each prediction."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.challengers import (
    NICE,
    SERVE,
    WARM_UP_S,
    labelled_round,
    publish_untrained,
    running,
    stream_file,
)
from benchmarks.figures import Figure, Spread, percentile, ratios
from benchmarks.rig import Rig
from benchmarks.throughput import Size
from consumers.monitor.columns import PredictionReader
from consumers.monitor.windows import PREDICTIONS, PartitionWindows
from millstream import Stream
from millstream.stream.monitor_rules import window_rules
from runtime.kafka_client.records import PlainRecord, Record
from schemas import codec
from schemas.events import read_prediction

_FEATURES: Final = 20
_TURN: Final = 2000
_WATCHED: Final = '''"""A stream whose windows close while it is measured."""

from river import linear_model, preprocessing

from millstream import Stream, Watch

stream = Stream(
    name="elec",
    task="binary",
    label="class",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    watch=Watch(window="2s", reference="1h"),
)
'''


def monitor(rig: Rig, size: Size) -> list[Figure]:
    """p99 from features sent to prediction readable, with and without a monitor beside the whole loop."""
    names = rig.names("monitor")
    file = stream_file(rig, "watched.py", _WATCHED)
    without: list[list[float]] = []
    beside: list[list[float]] = []
    publish_untrained(rig, names, file)
    with running(rig, names, file, SERVE):
        for _ in range(size.rounds):
            labelled_round(rig, names, WARM_UP_S)
            without.append(labelled_round(rig, names, size.seconds).delays())
            with running(rig, names, file, (("monitor",),), NICE):
                labelled_round(rig, names, WARM_UP_S)  # what it has missed comes first
                beside.append(labelled_round(rig, names, size.seconds).delays())
    tails = [[percentile(each, 0.99) for each in rounds] for rounds in (beside, without)]
    absolute = {
        "with a monitor, p99 ms": Spread(tuple(tails[0])),
        "without, p99 ms": Spread(tuple(tails[1])),
        "with a monitor, p50 ms": Spread(tuple(percentile(each, 0.5) for each in beside)),
        "without, p50 ms": Spread(tuple(percentile(each, 0.5) for each in without)),
    }
    what = (
        "a monitor beside the loop, windows of 2 s, labels coming: prediction latency at 500 events/s, exactly once, "
        "p99 against none"
    )
    return [Figure("monitor", what, ratios(*tails), "", "at most", 1.1, absolute)]


def monitor_rate(rig: Rig, size: Size) -> list[Figure]:
    """Processor time of reading and decoding predictions, against that of the whole monitor for the same records."""
    records = _records(size.events)
    decoding, whole = [], []
    for _ in range(2 * size.rounds):
        decoding.append(_seconds(records, lambda turn: [read_prediction(each.value or b"") for each in turn]))
        windows = PartitionWindows(PREDICTIONS, window_rules(_stream()), PredictionReader())
        whole.append(_seconds(records, lambda turn, to=windows: [each.encode() for each in to.take(turn)]))
    absolute = {
        "decoding, µs a prediction": Spread(tuple(1e6 * each / len(records) for each in decoding)),
        "the monitor, µs a prediction": Spread(tuple(1e6 * each / len(records) for each in whole)),
    }
    what = f"predictions of {_FEATURES} numbers, 190 pairs: rate of the monitor against decoding alone, processor time"
    return [Figure("monitor-rate", what, ratios(decoding, whole), "", "at least", 0.4, absolute)]


def _stream() -> Stream:
    return Stream(name="elec", task="binary", model=lambda: None)


def _seconds(records: Sequence[Record], work: object) -> float:
    """Return the processor time of `work` on all records, a turn at a time."""
    assert callable(work)
    gc.collect()
    began = time.process_time()
    for start in range(0, len(records), _TURN):
        work(records[start : start + _TURN])
    return time.process_time() - began


def _records(count: int) -> list[Record]:
    draw = random.Random(7)
    made: list[Record] = []
    for number in range(count):
        at = 1_764_000_000_000 + 10 * number
        features = {f"f{column}": draw.gauss(0, 1) for column in range(_FEATURES)}
        event = {"event_id": f"e{number}", "event_time": at, "features": features, "entity_key": None}
        outcome = {
            "prediction": number % 3 == 0,
            "probabilities": {"false": 0.25, "true": 0.75},
            "model": "elec",
            "epoch": 1,
            "examples": number,
            "predicted_at": at,
            "source_topic": "elec.features",
            "source_partition": 0,
            "source_offset": number,
            "error": None,
            "role": "serving",
            "status": "ok",
        }
        value = codec.PREDICTION.encode({"event": event, "outcome": outcome})
        made.append(PlainRecord("elec.predictions", 0, number, at + 3, None, value))
    return made
