"""How long things take, measured from outside: sent by one process, read (committed) by this one."""

from __future__ import annotations

import gc
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from benchmarks.figures import Figure, Spread, percentile, ratios
from benchmarks.material import outcome_bytes
from benchmarks.rig import PARTITIONS, Broken, Process, Rig, until
from benchmarks.throughput import QUICK, Size, publish_untrained
from runtime.kafka_client.records import Partition
from schemas.events import read_example, read_prediction
from schemas.topics import Names

RATE: Final = 500.0
WARM_UP_SECONDS: Final = 2.0
_FRESH_RATE: Final = 100.0
LABEL_DELAY_EVENTS: Final = 50


@dataclass
class Arrivals:
    """What was read: (ns of the monotonic clock, key, value), in the order of reading."""

    seen: list[tuple[int, bytes, bytes]] = field(default_factory=list)

    def delays(self, skip: float = WARM_UP_SECONDS) -> list[float]:
        """Return ms from sent to read, without what was sent in the first `skip` seconds."""
        return [(at - int(key)) / 1e6 for key, at in self.times(skip).items()]

    def times(self, skip: float = WARM_UP_SECONDS) -> dict[str, int]:
        """Return when each was read (ns) by key, without what was sent in the first `skip` seconds."""
        first = min(int(key) for _, key, _ in self.seen) + int(skip * 1e9)
        return {key.decode(): at for at, key, _ in self.seen if int(key) >= first}


@contextmanager
def reading(rig: Rig, topic: str) -> Iterator[Arrivals]:
    """Read what comes to a topic from now on, in a thread."""
    arrivals, stop = Arrivals(), threading.Event()
    ends = rig.ends(topic)
    reader = rig.cluster.consumer()
    reader.assign(list(ends))
    for place, end in ends.items():
        reader.seek(place, end)

    def follow() -> None:
        while not stop.is_set():
            polled = reader.poll(timeout_ms=100)
            now = time.monotonic_ns()
            for records in polled.values():
                arrivals.seen += [(now, record.key or b"", record.value or b"") for record in records]

    thread = threading.Thread(target=follow, daemon=True)
    gc.collect()
    gc.freeze()
    thread.start()
    try:
        yield arrivals
    finally:
        stop.set()
        thread.join()
        reader.close()
        gc.unfreeze()


def send(rig: Rig, topic: str, rate: float, seconds: float, *labels: str) -> Process:
    """Start to send features; with a topic and a number of events, their labels follow so many events later."""
    return rig.python("benchmarks.sender", rig.cluster.bootstrap, topic, str(rate), str(seconds), *labels)


def one_round(rig: Rig, features: str, out: str, process: Process, seconds: float) -> list[float]:
    """Send for a while through a process that is ready, and return the delays (ms)."""
    return arrivals_of(rig, features, out, process, seconds).delays()


def arrivals_of(rig: Rig, features: str, out: str, process: Process, seconds: float) -> Arrivals:
    """Send for a while through a process that is ready, and return what arrived."""
    with reading(rig, out) as arrivals:
        sent = json.loads(send(rig, features, RATE, seconds).wait(seconds + 30))
        until(lambda: len(arrivals.seen) >= len(sent), 20, f"{out}: not everything comes")
        process.require()
    if {key.decode() for _, key, _ in arrivals.seen} != set(sent):
        raise Broken(f"{out}: what was read is not what was sent")
    return arrivals


def latency(rig: Rig, size: Size) -> list[Figure]:
    """p99 from features sent to prediction readable, against the bare transactional loop."""
    names = rig.names("latency")
    features = names.topic("features")
    out = rig.topic("latency-bare", PARTITIONS)
    publish_untrained(rig, names)
    ours: list[list[float]] = []
    bare: list[list[float]] = []
    for number in range(size.rounds):
        process = rig.role("predictor", names)
        try:
            rig.drained(names.group("predictor"), [features], process)
            ours.append(one_round(rig, features, names.topic("predictions"), process, size.seconds))
        finally:
            process.end()
        name = f"latency-bare-{number}"
        process = rig.bare(name, out, outcome_bytes(), PARTITIONS, [features])
        try:
            rig.drained(name, [features], process)
            bare.append(one_round(rig, features, out, process, size.seconds))
        finally:
            process.end()
    tails = [[percentile(each, 0.99) for each in rounds] for rounds in (ours, bare)]
    absolute = {
        "ours, p99 ms": Spread(tuple(tails[0])),
        "bare, p99 ms": Spread(tuple(tails[1])),
        "ours, p50 ms": Spread(tuple(percentile(each, 0.5) for each in ours)),
        "bare, p50 ms": Spread(tuple(percentile(each, 0.5) for each in bare)),
    }
    what = "prediction latency, exactly once, 500 events/s, features sent to prediction readable: p99 against bare"
    return [Figure("latency", what, ratios(*tails), "", "at most", 1.5, absolute)]


def swap(rig: Rig, size: Size) -> list[Figure]:
    """The longest wait while 3 MB versions roll over every second, over the p99 without."""
    names = rig.names("swap")
    features, predictions = names.topic("features"), names.topic("predictions")
    publish_untrained(rig, names)
    process = rig.role("predictor", names)
    more, still, rolling = [], [], []
    served = []
    try:
        process.until_ready()
        _roll(rig, names, 1.0).wait(60)
        for _ in range(size.rounds):
            without = percentile(one_round(rig, features, predictions, process, size.seconds), 0.99)
            roller = _roll(rig, names, size.seconds + 8)
            before = rig.ends(predictions)
            longest = max(one_round(rig, features, predictions, process, size.seconds))
            served.append(float(len(_versions(rig, predictions, before))))
            roller.wait(60)
            more.append(longest - without)
            still.append(without)
            rolling.append(longest)
    finally:
        process.end()
    if min(served) < size.seconds / 2:
        raise Broken(f"only {min(served):.0f} versions were served in {size.seconds:g} s")
    return [
        Figure(
            "swap",
            "swap: 500 events/s, a new 3 MB version a second: longest features-to-prediction minus p99 without swaps",
            Spread(tuple(more)),
            "ms",
            "at most",
            50,
            {
                "longest while rolling, ms": Spread(tuple(rolling)),
                "p99 without, ms": Spread(tuple(still)),
                "versions served": Spread(tuple(served)),
            },
        )
    ]


def _roll(rig: Rig, names: Names, seconds: float, *how: str) -> Process:
    home = str(rig.folder / names.prefix)
    return rig.python("benchmarks.roller", home, rig.cluster.bootstrap, names.prefix, str(seconds), *how)


def swap_large(rig: Rig, size: Size) -> list[Figure]:
    """The longest wait while a version of 300 MB is loaded and takes over from another, over the p99 without."""
    megabytes, loading = (300, 90.0) if size.seconds > QUICK.seconds else (40, 30.0)
    names = rig.names("swap-large")
    features, predictions = names.topic("features"), names.topic("predictions")
    publish_untrained(rig, names)
    process = rig.role("predictor", names)
    still, rolling, sizes = [], [], []
    try:
        process.until_ready()
        sizes.append(_rolled(rig, names, 1.0, str(megabytes)))
        for _ in range(size.rounds):
            still.append(percentile(one_round(rig, features, predictions, process, size.seconds), 0.99))
            before = rig.ends(predictions)
            # It loads its own model first, which takes a while and the memory of one: begin when that is done.
            roller = _roll(rig, names, 2.0, str(megabytes), "2")
            roller.until_ready("made", 600)
            rolling.append(max(one_round(rig, features, predictions, process, loading)))
            roller.wait(60)
            if len(_versions(rig, predictions, before)) < 2:
                raise Broken(f"no version of {megabytes} MB took over within {loading:g} s")
    finally:
        process.end()
    what = (
        f"swap of a {megabytes} MB version: 500 events/s, longest features-to-prediction during loading and swap, "
        "minus p99 without a swap"
    )
    absolute = {
        "longest meanwhile, ms": Spread(tuple(rolling)),
        "p99 without, ms": Spread(tuple(still)),
        "size, MB": Spread(tuple(sizes)),
    }
    more = tuple(longest - without for longest, without in zip(rolling, still, strict=True))
    return [Figure("swap-large", what, Spread(more), "ms", "at most", 250, absolute)]


def _rolled(rig: Rig, names: Names, seconds: float, *how: str) -> float:
    """Publish one version, and return its size in MB."""
    return float(_roll(rig, names, seconds, *how).wait(600).split()[-1]) / 1e6


def _versions(rig: Rig, topic: str, since: dict[Partition, int]) -> set[str]:
    return {read_prediction(value).outcome.version for value in rig.values(topic, since)}


def freshness(rig: Rig, size: Size) -> list[Figure]:
    """Label sent to the first prediction by a version that learned it; the whole loop as processes."""
    names = rig.names("freshness")
    predictions = names.topic("predictions")
    publish_untrained(rig, names)
    processes = [rig.role(role, names) for role in ("predictor", "joiner", "learner")]
    tails, middles = [], []
    try:
        for process in processes:
            process.until_ready()
        for _ in range(size.rounds):
            learned = sum(1 for _ in rig.values(names.topic("examples"), {}))
            delays = _fresh_round(rig, names, predictions, size.seconds * 2, learned)
            tails.append(percentile(delays, 0.95))
            middles.append(percentile(delays, 0.5))
    finally:
        for process in processes:
            process.end()
    absolute = {"p95, s": Spread(tuple(tails)), "p50, s": Spread(tuple(middles))}
    what = "label sent to first prediction by a version that learned it, model under 1 MB: p95"
    return [Figure("freshness", what, Spread(tuple(tails)), "s", "at most", 2.0, absolute)]


def _fresh_round(rig: Rig, names: Names, predictions: str, seconds: float, learned: int) -> list[float]:
    labels = (names.topic("labels"), str(LABEL_DELAY_EVENTS))
    with reading(rig, predictions) as arrivals:
        sent: dict[str, int] = json.loads(
            send(rig, names.topic("features"), _FRESH_RATE, seconds, *labels).wait(seconds + 30)
        )
        until(lambda: len(arrivals.seen) >= seconds * _FRESH_RATE, 20, "not every prediction comes")
    order = [read_example(value).event.event_id for value in rig.values(names.topic("examples"), {})]
    positions = {name: number + 1 for number, name in enumerate(order)}
    served = [(at, read_prediction(value).outcome.examples) for at, _, value in arrivals.seen]
    return until_served(sent, positions, served, learned)


def until_served(
    sent: dict[str, int], positions: dict[str, int], served: list[tuple[int, int]], learned: int
) -> list[float]:
    """Return seconds from each label to the first prediction by a version of at least its place in the log.

    The labels of the last three seconds have no predictions after them; those before must all have been served.
    """
    last = served[-1][0] - int(3e9)
    delays = []
    at = 0
    for name in sorted((name for name in positions if name in sent), key=positions.__getitem__):
        if positions[name] <= learned or sent[name] > last:
            continue
        while at < len(served) and served[at][1] < positions[name]:
            at += 1
        if at == len(served):
            raise Broken(f"the label of {name} was never served")
        delays.append((served[at][0] - sent[name]) / 1e9)
    return delays
