"""A joiner over a log in memory: what comes in, how it is run to the end, and what comes out.

`as_judge` puts a judge in its place: with shadows where the predictions are, and comparisons where the examples are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from simulation.log import Crash, MemoryLog, SimulatedLoop

from consumers.joiner.join import JoinRules
from consumers.joiner.joiner import Joiner, JoinerSettings
from consumers.joiner.local_store import MemoryStore
from consumers.judge.judge import judge_settings
from runtime.kafka_client.records import Output
from schemas import codec
from schemas.comparisons import Challenger, Shadow, read_comparison
from schemas.events import Event, Example, Features, Label, Outcome, read_example
from schemas.target import Target
from schemas.topics import Names, partition_of

NAMES = Names("sim")
PARTITIONS = 2
WAIT = 10_000
GROUP = NAMES.group("joiner")

Crashes = Callable[[str], bool]
_judges = False


class JudgeNames(Names):
    """Names by which shadows and comparisons are where a joiner's topics are."""

    def topic(self, kind: str) -> str:
        return super().topic({"shadows": "predictions", "comparisons": "examples"}.get(kind, kind))

    def group(self, role: str) -> str:
        return super().group("joiner" if role == "judge" else role)


JUDGED = JudgeNames("sim", models=("forest",))


@contextmanager
def as_judge() -> Iterator[None]:
    """Let everything here be about a judge."""
    global _judges  # noqa: PLW0603
    _judges = True
    try:
        yield
    finally:
        _judges = False


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
    return Joiner(make_settings(rules(**changes)), store)


def make_settings(join_rules: JoinRules, spread: int = PARTITIONS, max_pending: int = 1000) -> JoinerSettings:
    if _judges:
        return judge_settings(JUDGED, join_rules, spread, max_pending)
    return JoinerSettings(NAMES, join_rules, spread, max_pending)


def predict(log: MemoryLog, event_id: str, features: Features | None = None) -> None:
    event = Event(event_id, log.now, features or {"x": 1.0})
    outcome = Outcome(True, {"true": 0.75, "false": 0.25}, "sim", 1, 0, log.now, NAMES.topic("features"), 0, 0)
    partition = partition_of(event_id, PARTITIONS)
    if _judges:
        value = shadow_of(event, outcome, log.now).encode()
    else:
        body = event.encode()[10:] + b"\x02" + codec.OUTCOME.encode_body(msgspec.to_builtins(outcome))
        value = codec.PREDICTION.header + body
    log.append(Output(NAMES.topic("predictions"), partition, event_id.encode(), value))


def shadow_of(event: Event, outcome: Outcome, time: int) -> Shadow:
    """Return a shadow with one challenger, of a prediction that the broker took at `time`."""
    answer = Challenger("sim.forest", 1, 7, 5, False, {"true": 0.25, "false": 0.75})
    bare = msgspec.structs.replace(event, features={})
    return Shadow(bare, partition_of(event.event_id, PARTITIONS), 0, time, {"large": "true"}, [answer], outcome)


def label(log: MemoryLog, event_id: str, value: bool = True, partition: int | None = None, **more: object) -> None:
    at = partition_of(event_id, PARTITIONS) if partition is None else partition
    made = Label(event_id, value, log.now, **more)  # type: ignore[arg-type]
    log.append(Output(NAMES.topic("labels"), at, event_id.encode(), made.encode()))


def examples(log: MemoryLog) -> list[Example]:
    if _judges:
        held = [read_comparison(record.value or b"") for record in log.read(NAMES.topic("examples"))]
        return [Example(each.shadow.event, each.shadow.outcome, each.label, each.lane, each.joined) for each in held]
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
