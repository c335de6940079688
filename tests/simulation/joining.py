"""A joiner over a log in memory: what comes in, how it is run to the end, and what comes out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec
from simulation.log import Crash, MemoryLog, SimulatedLoop

from consumers.joiner.join import JoinRules
from consumers.joiner.joiner import Joiner, JoinerSettings
from consumers.joiner.local_store import MemoryStore
from runtime.kafka_client.records import Output
from schemas import codec
from schemas.events import Event, Example, Features, Label, Outcome, read_example
from schemas.target import Target
from schemas.topics import Names, partition_of

NAMES = Names("sim")
PARTITIONS = 2
WAIT = 10_000
GROUP = NAMES.group("joiner")

Crashes = Callable[[str], bool]


def make_log() -> MemoryLog:
    return MemoryLog(
        {
            NAMES.topic("predictions"): PARTITIONS,
            NAMES.topic("labels"): PARTITIONS,
            NAMES.topic("examples"): 1,
            NAMES.topic("dead-letters"): 1,
        }
    )


def rules(**changes: object) -> JoinRules:
    settings: dict[str, object] = {"target": Target(task="binary"), "label_wait": WAIT, "dedup_window": WAIT}
    return JoinRules(**{**settings, **changes})  # type: ignore[arg-type]


def make_joiner(store: MemoryStore, **changes: object) -> Joiner:
    return Joiner(JoinerSettings(NAMES, rules(**changes), PARTITIONS, max_pending=1000), store)


def predict(log: MemoryLog, event_id: str, features: Features | None = None) -> None:
    event = Event(event_id, log.now, features or {"x": 1.0})
    outcome = Outcome(True, {"true": 0.75, "false": 0.25}, "sim", 1, 0, log.now, NAMES.topic("features"), 0, 0)
    body = (
        event.encode()[10:]
        + b"\x02"
        + codec.OUTCOME.encode_body({name: getattr(outcome, name) for name in outcome.__struct_fields__})
    )
    partition = partition_of(event_id, PARTITIONS)
    log.append(Output(NAMES.topic("predictions"), partition, event_id.encode(), codec.PREDICTION.header + body))


def label(log: MemoryLog, event_id: str, value: bool = True, partition: int | None = None, **more: object) -> None:
    at = partition_of(event_id, PARTITIONS) if partition is None else partition
    made = Label(event_id, value, log.now, **more)  # type: ignore[arg-type]
    log.append(Output(NAMES.topic("labels"), at, event_id.encode(), made.encode()))


def examples(log: MemoryLog) -> list[Example]:
    return [read_example(record.value or b"") for record in log.read(NAMES.topic("examples"))]


def drain(log: MemoryLog, store: MemoryStore, crash: Crashes = lambda place: False, **changes: object) -> Joiner:
    """Run until all is read, starting anew after every crash."""
    while True:
        joiner = make_joiner(store, **changes)
        try:
            loop = SimulatedLoop(log, GROUP, joiner, crash)
            while not loop.idle():
                loop.step({NAMES.topic("predictions"): 3, NAMES.topic("labels"): 3})
            return joiner
        except Crash:
            store.rollback()


def assert_lanes_have_no_gaps(log: MemoryLog) -> None:
    seen: Counter[str] = Counter()
    for example in examples(log):
        assert example.lane.sequence == seen[example.lane.name]
        seen[example.lane.name] += 1


def counts(log: MemoryLog) -> Counter[str]:
    """Return what the places say of the labels, by state."""
    total: Counter[str] = Counter()
    for (group, partition), place in log.places.items():
        if group == GROUP and partition.topic == NAMES.topic("labels"):
            told = msgspec.json.decode(place.metadata)
            total.update(told["counts"])
            total["waiting"] += told["waiting"][1]
    return total


LABEL_STATES = ("joined", "duplicate", "correction", "contradicting", "late", "unknown", "waiting", "refused")
