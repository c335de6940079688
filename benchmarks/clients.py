"""The second Kafka client against the first, against Quix Streams, and against a bare loop, in turn on one broker."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import steps
from benchmarks.figures import Figure, Spread, percentile, rate, ratios
from benchmarks.latency import arrivals_of
from benchmarks.material import cycle, elec_file, event, event_id, outcome_bytes
from benchmarks.peers import environment
from benchmarks.replays import STREAM
from benchmarks.rig import PARTITIONS, Process, Rig
from benchmarks.throughput import Size, publish_untrained
from runtime.kafka_client.records import Partition
from schemas.events import Event
from schemas.topics import Names

FAST: Final = "librdkafka"
DEFAULT: Final = "kafka-python"
_GUARANTEES: Final = ("at-least-once", "exactly-once")
_LONGEST_S: Final = 600.0
_AROUND: Final = {"p50": (0.45, 0.55), "p99": (0.985, 0.995)}
_WORDS: Final = {"p50": "around the median", "p99": "around the 99th percentile"}
Round = Callable[[], float]


def fast_predictor(rig: Rig, size: Size) -> list[Figure]:
    """Events/s of one predictor process with each client, of Quix Streams, and of a bare loop with librdkafka."""
    names = rig.names("fast")
    count = 2 * size.events
    features, as_json = names.topic("features"), rig.topic("fast-json", PARTITIONS)
    rig.load(features, ((n % PARTITIONS, event_id(n).encode(), event(n, row).encode()) for n, row in cycle(count)))
    rig.load(as_json, ((n % PARTITIONS, event_id(n).encode(), _json(event(n, row))) for n, row in cycle(count)))
    publish_untrained(rig, names)
    alternatives: dict[str, Round] = {
        f"ours, {client}": partial(_ours, rig, names, client, count) for client in (FAST, DEFAULT)
    }
    alternatives["bare librdkafka"] = partial(_bare, rig, features, count)
    peers = environment.python()
    if peers is None:
        print("Quix Streams is left out: `make peers` makes its environment", file=sys.stderr)
    else:
        for guarantee in _GUARANTEES:
            alternatives[f"Quix Streams, {guarantee}"] = partial(_quix, rig, peers, features, guarantee, "avro", count)
        alternatives["Quix Streams, at-least-once, JSON"] = partial(
            _quix, rig, peers, as_json, "at-least-once", "json", count
        )
    measured: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(size.rounds):
        for name, run in alternatives.items():
            measured[name].append(run())
    return _compared(measured, "" if peers is None else _said(environment.versions(peers)))


def _json(event: Event) -> bytes:
    """Return an event as Quix Streams reads it by default."""
    return json.dumps({"event_id": event.event_id, "event_time": event.event_time, "features": event.features}).encode()


def _said(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _compared(measured: dict[str, list[float]], peers: str) -> list[Figure]:
    ours, default = measured[f"ours, {FAST}"], measured[f"ours, {DEFAULT}"]
    absolute = {f"{name}, events/s": Spread(tuple(rounds)) for name, rounds in measured.items()}
    what = "predictor, exactly once, librdkafka, one process: events/s against"
    bounds = [("bare-librdkafka", "bare librdkafka", "a bare transactional librdkafka loop", 0.5)]
    if peers:
        bounds += [
            ("quix", "Quix Streams, at-least-once", "Quix Streams + River, at least once", 2.3),
            ("quix-exactly-once", "Quix Streams, exactly-once", "Quix Streams + River, exactly once", 2.0),
        ]
    figures = [
        Figure(name, f"{what} {words}", ratios(ours, measured[other]), "", "at least", bound, absolute, peers)
        for name, other, words, bound in bounds
    ]
    if peers:
        words = (
            "predictor, exactly once, kafka-python, one process: events/s against Quix Streams + River, at least once"
        )
        other = measured["Quix Streams, at-least-once"]
        figures.append(Figure("quix-kafka-python", words, ratios(default, other), "", "at least", 1.0, absolute, peers))
    return figures


def _ours(rig: Rig, names: Names, client: str, count: int) -> float:
    features, predictions = names.topic("features"), names.topic("predictions")
    group = names.group("predictor")
    since = rig.ends(predictions)
    process = rig.role("predictor", names, client=client)
    try:
        rig.drained(group, [features], process)
    finally:
        process.end()
    measured = rate(rig.times(predictions, since), count // 8)
    rig.forget(group, rig.folder / names.prefix / "state")
    return measured


def _drained(
    rig: Rig, process: Process, group: str, source: str, out: str, since: Mapping[Partition, int], count: int
) -> float:
    """Return records/s of a process that reads all of `source`."""
    try:
        rig.drained(group, [source], process)
    finally:
        process.end()
    measured = rate(rig.times(out, since), count // 8)
    rig.forget(group)
    return measured


def _bare(rig: Rig, features: str, count: int) -> float:
    out = rig.topic_once("fast-bare", PARTITIONS)
    program = environment.program("bare_librdkafka")
    words = [rig.cluster.bootstrap, "fast-bare", out, str(outcome_bytes()), str(PARTITIONS), features]
    since = rig.ends(out)
    process = rig.program([sys.executable, program, *words], "bare_librdkafka")
    return _drained(rig, process, "fast-bare", features, out, since, count)


def _quix(rig: Rig, python: Path, source: str, guarantee: str, form: str, count: int) -> float:
    out = rig.topic_once(f"fast-quix-{form}-{guarantee}", PARTITIONS)
    words = [rig.cluster.bootstrap, out, source, out, guarantee, form, environment.SCHEMAS]
    since = rig.ends(out)
    process = rig.program([python, environment.program("quix_predictor"), *words], "quix")
    return _drained(rig, process, out, source, out, since, count)


def client_latency(rig: Rig, size: Size) -> list[Figure]:
    """p50 and p99 of a predictor at 500 events/s with librdkafka, against kafka-python, each with its steps."""
    names = rig.names("client-latency")
    publish_untrained(rig, names)
    measured: dict[str, list[_Latency]] = {FAST: [], DEFAULT: []}
    for _ in range(size.rounds):
        for client, rounds in measured.items():
            rounds.append(_latency(rig, names, client, size.seconds))
    figures = []
    for name, share, bound in (("p50", 0.5, 0.75), ("p99", 0.99, 0.9)):
        fast, default = ([percentile(each.delays, share) for each in measured[client]] for client in (FAST, DEFAULT))
        absolute = {f"{FAST}, {name} ms": Spread(tuple(fast)), f"{DEFAULT}, {name} ms": Spread(tuple(default))}
        for client, rounds in measured.items():
            parts = [steps.at(each.rows, *_AROUND[name]) for each in rounds]
            absolute |= {f"{client}, {step}": Spread(tuple(part[step] for part in parts)) for step in steps.STEPS}
        what = f"prediction latency, exactly once, 500 events/s: {name} with librdkafka against kafka-python"
        note = f"the steps are means in ms over the events {_WORDS[name]}"
        figures.append(Figure(f"latency-{name}", what, ratios(fast, default), "", "at most", bound, absolute, note))
    return figures


class _Latency(NamedTuple):
    """Latencies of the events of one round, and the steps of each, in ms."""

    delays: list[float]
    rows: list[list[float]]


def _latency(rig: Rig, names: Names, client: str, seconds: float) -> _Latency:
    features, predictions = names.topic("features"), names.topic("predictions")
    turns = rig.folder / f"turns-{client}.json"
    process = rig.role("predictor", names, client=client, turns_file=turns)
    try:
        rig.drained(names.group("predictor"), [features], process)
        arrivals = arrivals_of(rig, features, predictions, process, seconds)
    finally:
        process.end()
    return _Latency(arrivals.delays(), steps.by_event(turns, arrivals.times()))


def publisher(rig: Rig, size: Size) -> list[Figure]:
    """Events/s of `millstream publish` from a CSV with librdkafka, against kafka-python."""
    file = rig.folder / "elec_stream.py"
    file.write_text(STREAM)
    measured: dict[str, list[float]] = {FAST: [], DEFAULT: []}
    for number in range(size.rounds):
        for client, rounds in measured.items():
            names = rig.names(f"publish-{client}-{number}")
            home = str(rig.folder / names.prefix)
            where = ("--bootstrap", rig.cluster.bootstrap, "--prefix", names.prefix, "--home", home)
            words = ("publish", str(file), os.fspath(elec_file()), "--limit", str(size.examples))
            rig.python("millstream", *words, *where, client=client).wait(_LONGEST_S)
            rounds.append(rate(rig.times(names.topic("features"), {}), size.examples // 8))
    absolute = {f"{client}, events/s": Spread(tuple(rounds)) for client, rounds in measured.items()}
    what = "publish from a CSV, features and labels: events/s with librdkafka against kafka-python"
    return [Figure("publisher", what, ratios(measured[FAST], measured[DEFAULT]), "", "at least", 2.0, absolute)]
