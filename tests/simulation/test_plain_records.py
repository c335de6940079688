"""The joiner answers the same, byte for byte, whether it takes plain records as they are or decodes every one."""

from __future__ import annotations

import random

import pytest
from simulation.joining import GROUP, NAMES, PARTITIONS, WAIT, label, make_joiner, make_log, predict
from simulation.log import MemoryLog, SimulatedLoop
from simulation.seeds import seeds

from consumers.joiner.labels import LabelReader
from consumers.joiner.local_store import MemoryStore
from runtime.kafka_client.records import Output
from schemas.fast_examples import PredictionReader
from schemas.label_spelling import ByClass

LABELS, PREDICTIONS = NAMES.topic("labels"), NAMES.topic("predictions")


def written(seed: int) -> MemoryLog:
    """Return a log of plain and odd records, in any order of predictions and labels."""
    rng = random.Random(seed)
    log = make_log()
    for _ in range(120):
        log.now += rng.choice([0, 1, 50, WAIT // 4, 3 * WAIT])
        event_id = rng.choice(["a", "b", "c", "d", "é", "x" * 70, "y" * 500])
        kind = rng.randrange(8)
        if kind < 3:
            predict(log, event_id, rng.choice([None, {"x": 2.5}, {"n": 1, "t": "text"}, {"x": 1.0, "y": None}]))
        elif kind < 6:
            more: dict[str, object] = {"kind": rng.choice(["label", "label", "correction"])}
            more["weight"] = rng.choice([1.0, 1.0, 0.5])
            label(log, event_id, rng.random() < 0.5, rng.choice([None, None, 0, 1]), **more)
        else:
            topic, at = rng.choice([LABELS, PREDICTIONS]), rng.randrange(PARTITIONS)
            whole = [record for record in log.read(topic) if record.value]
            cut = rng.choice(whole).value[: rng.randrange(60)] if whole else b""  # type: ignore[index]
            json = b'{"event_id": "a", "value": 1}' if topic == LABELS else b""
            log.append(Output(topic, at, None, rng.choice([cut, json, b"", b"{"])))
    return log


def joined(log: MemoryLog, turn: int, **rules: object) -> tuple[MemoryLog, dict[bytes, bytes]]:
    store = MemoryStore()
    loop = SimulatedLoop(log, GROUP, make_joiner(store, **rules), lambda place: False)
    while not loop.idle():
        loop.step({PREDICTIONS: turn, LABELS: turn})
    return log, dict(store.scan(b"", b""))


@pytest.mark.parametrize("seed", seeds(30, 200))
def test_plain_records_give_the_bytes_of_decoded_ones(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    turn = rng.choice([1, 3, 1000])
    rules = rng.choice([{}, {"weights": ByClass({True: 3.0})}, {"on_timeout": False}, {"learn_from_events": True}])
    quick, in_store = joined(written(seed), turn, **rules)
    plain: list[object] = []
    monkeypatch.setattr(LabelReader, "plain", lambda self, data: plain.append(data))
    monkeypatch.setattr(PredictionReader, "check", lambda self, data: self.features(data) and None)
    slow, in_other = joined(written(seed), turn, **rules)
    assert plain
    for topic in (NAMES.topic("examples"), NAMES.topic("dead-letters"), LABELS):
        assert [record.value for record in quick.read(topic)] == [record.value for record in slow.read(topic)]
    assert {key: place.metadata for key, place in quick.places.items()} == {
        key: place.metadata for key, place in slow.places.items()
    }
    assert in_store == in_other
