"""How much each role gets through, beside a bare loop that alternates with it in the same run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import material
from benchmarks.figures import Figure, Spread, rate, ratios
from benchmarks.material import cycle, event, event_id, label, outcome_bytes, prediction
from benchmarks.rig import PARTITIONS, Broken, Rig, until
from benchmarks.steps import processor_rate
from millstream.config.settings import Settings
from model_store import open_store
from runtime.kafka_client.library_names import KAFKA_PYTHON, PACKAGES
from schemas.topics import Names, partition_of

_LEARNER_WARM_UP: Final = 3000


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes
    ----------
    rounds
        Of ours and the bare loop, one after the other.
    events, examples
        A round, for predictor and joiner, and for the learner.
    pending
        Predictions that wait while the joiner is measured.
    waiting
        Predictions that wait when a joiner's disk is lost.
    seconds
        Of a round where time is measured.
    first, last
        Events after which memory is looked at.
    """

    rounds: int = 3
    events: int = 80_000
    examples: int = 45_000
    pending: int = 1_000_000
    waiting: int = 5_000_000
    seconds: float = 15.0
    first: int = 20_000
    last: int = 200_000


QUICK: Final = Size(
    rounds=1, events=15_000, examples=12_000, pending=30_000, waiting=40_000, seconds=5.0, first=10_000, last=30_000
)


def predictor(rig: Rig, size: Size) -> list[Figure]:
    """Events/s, exactly once, against the bare transactional loop."""
    names = rig.names("predictor")
    features, predictions = names.topic("features"), names.topic("predictions")
    rig.load(
        features,
        (
            (number % PARTITIONS, event_id(number).encode(), event(number, row).encode())
            for number, row in cycle(size.events)
        ),
    )
    publish_untrained(rig, names)
    out = rig.topic("predictor-bare", PARTITIONS)
    group = names.group("predictor")
    ours, bare = [], []
    for _ in range(size.rounds):
        since = rig.ends(predictions)
        process = rig.role("predictor", names)
        try:
            rig.drained(group, [features], process)
        finally:
            process.end()
        ours.append(rate(rig.times(predictions, since), size.events // 8))
        rig.forget(group, rig.folder / names.prefix / "state")  # and how far it has read
        bare.append(copied(rig, "predictor-bare", out, outcome_bytes(), PARTITIONS, [features], size.events // 8))
    return [
        Figure(
            "predictor",
            "predictor, exactly once, one process: events/s against a bare transactional read-write loop",
            ratios(ours, bare),
            "",
            "at least",
            0.6,
            {"ours, events/s": Spread(tuple(ours)), "bare, events/s": Spread(tuple(bare))},
        )
    ]


def lean(rig: Rig, size: Size) -> list[Figure]:
    """Events by processor second of a predictor with kafka-python, against one that takes the general path."""
    names = rig.names("lean")
    features = names.topic("features")
    rig.load(
        features, ((n % PARTITIONS, event_id(n).encode(), event(n, row).encode()) for n, row in cycle(size.events))
    )
    publish_untrained(rig, names)
    measured: dict[str, list[float]] = {"predictor": [], "general-predictor": []}
    for _ in range(size.rounds):
        for role, rounds in measured.items():
            turns = rig.folder / f"turns-{role}.json"
            process = rig.role(role, names, client=KAFKA_PYTHON, turns_file=turns)
            try:
                rig.drained(names.group("predictor"), [features], process)
            finally:
                process.end()
            rounds.append(processor_rate(turns, size.events // 8, size.events))
            rig.forget(names.group("predictor"), rig.folder / names.prefix / "state")
    ours, general = measured.values()
    absolute = {"ours, events/s": Spread(tuple(ours)), "general path, events/s": Spread(tuple(general))}
    what = "predictor, exactly once, kafka-python: events by processor second against the general path for every event"
    return [Figure("lean", what, ratios(ours, general), "", "at least", 1.3, absolute)]


def copied(rig: Rig, name: str, out: str, extra: int, partitions: int, topics: list[str], warm_up: int) -> float:
    """Return records/s of a bare loop that reads all there is."""
    since = rig.ends(out)
    process = rig.bare(name, out, extra, partitions, topics)
    try:
        rig.drained(name, topics, process)
    finally:
        process.end()
    measured = rate(rig.times(out, since), warm_up)
    rig.forget(name)
    return measured


def publish_untrained(rig: Rig, names: Names) -> None:
    """Have a learner publish and announce version 0."""
    process = rig.role("learner", names)
    try:
        models = names.topic("models")
        process.until_ready()
        until(lambda: sum(rig.ends(models).values()) > 0, 30, "no version is announced")
    finally:
        process.end()


def _place(number: int) -> tuple[int, bytes]:
    name = event_id(number)
    return partition_of(name, PARTITIONS), name.encode()


def load_predictions(rig: Rig, names: Names, count: int, start: int) -> None:
    """Put predictions where a joiner reads them."""
    records = ((*_place(number), prediction(number, row)) for number, row in cycle(count, start))
    rig.load(names.topic("predictions"), records)


def load_labels(rig: Rig, names: Names, count: int, start: int) -> None:
    """Put the labels of these predictions where a joiner reads them."""
    rig.load(names.topic("labels"), ((*_place(number), label(number, row)) for number, row in cycle(count, start)))


def load_halves(rig: Rig, names: Names, count: int, start: int) -> None:
    """Put predictions, and then their labels, where a joiner reads them."""
    load_predictions(rig, names, count, start)
    load_labels(rig, names, count, start)


def joiner(rig: Rig, size: Size) -> list[Figure]:
    """Examples/s against a bare copy of two topics into one, and with many pending against none."""
    names = rig.names("joiner")
    topics = [names.topic("predictions"), names.topic("labels")]
    group, state = names.group("joiner"), rig.folder / names.prefix / "state"
    load_halves(rig, names, size.events, 0)
    out = rig.topic("joiner-bare", 1)
    measured: dict[str, list[float]] = {client: [] for client in PACKAGES}
    bare = []
    for _ in range(size.rounds):
        for client, rounds in measured.items():
            rounds.append(join(rig, names, size.events // 8, client=client))
            rig.forget(group, state)
        # Two records of the bare copy are one example's worth.
        bare.append(copied(rig, "joiner-bare", out, 0, 1, topics, size.events // 4) / 2)
    absolute = {f"{client}, examples/s": Spread(tuple(rounds)) for client, rounds in measured.items()}
    absolute["bare, pairs of records/s"] = Spread(tuple(bare))
    return [
        Figure(
            f"joiner-{client}",
            f"joiner, {client}: examples/s against a bare copy of two topics into one with kafka-python",
            ratios(rounds, bare),
            "",
            "at least",
            1.3,
            absolute,
        )
        for client, rounds in measured.items()
    ]


def join(
    rig: Rig,
    names: Names,
    warm_up: int,
    snapshot_every: str = "5m",
    client: str | None = None,
    turns_file: Path | None = None,
) -> float:
    """Return examples/s of a joiner that reads all there is."""
    examples = names.topic("examples")
    since = rig.ends(examples)
    process = rig.role("joiner", names, snapshot_every=snapshot_every, client=client, turns_file=turns_file)
    try:
        rig.drained(names.group("joiner"), [names.topic("predictions"), names.topic("labels")], process)
    finally:
        process.end()
    return rate(rig.times(examples, since), warm_up)


def pending(rig: Rig, size: Size) -> list[Figure]:
    """Examples/s of a joiner in which many predictions wait, against one in which none does."""
    full, empty = rig.names("full"), rig.names("empty")
    load_predictions(rig, full, size.pending, 10_000_000)
    process = rig.role("joiner", full)
    try:
        rig.drained(full.group("joiner"), [full.topic("predictions"), full.topic("labels")], process, 600)
    finally:
        process.end()
    count, turns = size.events // 2, rig.folder / "turns-joiner.json"
    rates: dict[str, list[float]] = {"full": [], "empty": []}
    by_processor: dict[str, list[float]] = {"full": [], "empty": []}
    for number in range(size.rounds):
        for kind, names in (("empty", empty), ("full", full)):
            load_halves(rig, names, count, number * count)
            os.sync()  # the system still writes what was loaded before, and would do so meanwhile
            rates[kind].append(join(rig, names, count // 8, turns_file=turns))
            by_processor[kind].append(processor_rate(turns, count // 4, 2 * count) / 2)
    return [
        _beside_none("pending", "examples/s", size, rates),
        _beside_none("pending-processor", "examples by processor second", size, by_processor),
    ]


def _beside_none(name: str, unit: str, size: Size, rates: Mapping[str, Sequence[float]]) -> Figure:
    return Figure(
        name,
        f"joiner: {unit} with {size.pending:,} predictions pending against none",
        ratios(rates["full"], rates["empty"]),
        "",
        "at least",
        0.9,
        {
            f"{size.pending:,} pending, {unit}": Spread(tuple(rates["full"])),
            f"none pending, {unit}": Spread(tuple(rates["empty"])),
        },
    )


def learner(rig: Rig, size: Size) -> list[Figure]:
    """Events by processor second with checkpoints and all metrics, against River's own evaluation in memory."""
    names = rig.names("learner")
    rig.load(names.topic("examples"), ((0, None, value) for value in material.examples(size.examples)))
    figures = []
    for model, title in (("hat", "HoeffdingAdaptiveTree"), ("lr", "logistic regression")):
        measured: dict[str, list[float]] = {client: [] for client in PACKAGES}
        bare = []
        for _ in range(size.rounds):
            for client, rounds in measured.items():
                rounds.append(_learn(rig, names, model, size.examples, client))
            said = rig.python("benchmarks.bare_learner", model, str(size.examples), str(_LEARNER_WARM_UP)).wait(300)
            bare.append(float(said.split()[1]))
        absolute = {f"{client}, events/s": Spread(tuple(rounds)) for client, rounds in measured.items()}
        absolute["progressive_val_score, events/s"] = Spread(tuple(bare))
        for client, rounds in measured.items():
            what = (
                f"learner, {title}, {client}: events by processor second against progressive_val_score with the same "
                "metrics in memory"
            )
            name = f"learner-{model}-{client}"
            figures.append(Figure(name, what, ratios(rounds, bare), "", "at least", 0.7, absolute))
    return figures


def _learn(rig: Rig, names: Names, model: str, count: int, client: str) -> float:
    """Return events by processor second, of all threads of the process, after the warm-up."""
    home, turns = rig.folder / names.prefix, rig.folder / "turns-learner.json"
    process = rig.role("learner", names, model, client=client, turns_file=turns)
    try:
        rig.drained(names.group("learner"), [names.topic("examples")], process)
    finally:
        process.end()
    settings = Settings(home, rig.cluster.bootstrap, names.prefix)
    store = open_store(settings.models, settings.keys, sign=False)
    versions = [store.manifest(version) for version in store.versions("elec")]
    # An outlier that would move the model's other answers by far is left out; the manifest names it.
    left_out = (
        sum(1 if isinstance(each, int) else each[1] - each[0] + 1 for each in versions[-1].skipped) if versions else 0
    )
    if not versions or versions[-1].examples + left_out != count:
        raise Broken(f"the learner stopped at {[each.examples for each in versions[-1:]]}, not at {count}")
    rig.forget(names.group("learner"), home)
    return processor_rate(turns, _LEARNER_WARM_UP, count)
