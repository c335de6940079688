"""How much a replay and a backfill get through, and what those who live off the same cluster notice of a replay."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.figures import Figure, Spread, percentile, rate, ratios
from benchmarks.latency import one_round
from benchmarks.material import cycle, event, event_id, outcome_bytes
from benchmarks.rig import PARTITIONS, Rig, until
from benchmarks.throughput import Size, copied, publish_untrained

_LONGEST_S: Final = 600.0
STREAM: Final = '''"""The benchmark's stream, as a file: the command line takes no other."""

from river import linear_model, preprocessing

from millstream import Stream

stream = Stream(
    name="elec",
    task="binary",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    label="class",
)
'''


def _load(rig: Rig, topic: str, count: int) -> None:
    records = (
        (number % PARTITIONS, event_id(number).encode(), event(number, row).encode()) for number, row in cycle(count)
    )
    rig.load(topic, records)


def replay(rig: Rig, size: Size) -> list[Figure]:
    """Records/s without a limit, against a bare transactional copy."""
    names = rig.names("replay")
    features = names.topic("features")
    _load(rig, features, size.events)
    ours, bare = [], []
    for number in range(size.rounds):
        into = rig.topic(f"replay-{number}", PARTITIONS)
        words = ("replay", "elec", "features", "--into", into, "--rate", "unlimited")
        rig.command(names, *words).wait(_LONGEST_S)
        ours.append(rate(rig.times(into, {}), size.events // 8))
        out = rig.topic(f"replay-bare-{number}", PARTITIONS)
        bare.append(copied(rig, out, out, 0, PARTITIONS, [features], size.events // 8))
    absolute = {"ours, records/s": Spread(tuple(ours)), "bare, records/s": Spread(tuple(bare))}
    what = "replay without a limit, exactly once: records/s against a bare transactional copy"
    return [Figure("replay", what, ratios(ours, bare), "", "at least", 0.7, absolute)]


def backfill(rig: Rig, size: Size) -> list[Figure]:
    """Answers/s of one version, without a limit, against the bare transactional loop that asks no model."""
    names = rig.names("backfill")
    features = names.topic("features")
    _load(rig, features, size.events)
    publish_untrained(rig, names)
    file = rig.folder / "elec_stream.py"
    file.write_text(STREAM)
    ours, bare = [], []
    for number in range(size.rounds):
        into = rig.topic(f"backfill-{number}", PARTITIONS)
        words = ("backfill", str(file), "--into", into, "--model", "1/0", "--rate", "unlimited")
        rig.command(names, *words).wait(_LONGEST_S)
        ours.append(rate(rig.times(into, {}), size.events // 8))
        out = rig.topic(f"backfill-bare-{number}", PARTITIONS)
        bare.append(copied(rig, out, out, outcome_bytes(), PARTITIONS, [features], size.events // 8))
    absolute = {"ours, events/s": Spread(tuple(ours)), "bare, events/s": Spread(tuple(bare))}
    what = "backfill, logistic regression, exactly once: events/s against a bare transactional read-write loop"
    return [Figure("backfill", what, ratios(ours, bare), "", "at least", 0.6, absolute)]


def replay_live(rig: Rig, size: Size) -> list[Figure]:
    """p99 of live predictions during a replay at its own pace, over the p99 before it."""
    names = rig.names("replay-live")
    features, predictions = names.topic("features"), names.topic("predictions")
    stock = rig.topic("replay-live-stock", PARTITIONS)
    _load(rig, stock, round(2_500 * (size.seconds + 15)))
    publish_untrained(rig, names)
    before, during, written = [], [], []
    live = rig.role("predictor", names)
    try:
        rig.drained(names.group("predictor"), [features], live)
        for number in range(size.rounds):
            before.append(percentile(one_round(rig, features, predictions, live, size.seconds), 0.99))
            into = rig.topic(f"replay-live-{number}", PARTITIONS)
            work = rig.command(names, "replay", "elec", stock, "--into", into)
            try:
                until(lambda into=into: sum(rig.ends(into).values()) > 0, 60, "the replay does not begin")
                count, began = sum(rig.ends(into).values()), time.monotonic()
                during.append(percentile(one_round(rig, features, predictions, live, size.seconds), 0.99))
                work.require()
                written.append((sum(rig.ends(into).values()) - count) / (time.monotonic() - began))
            finally:
                work.end()
    finally:
        live.end()
    absolute = {
        "during, p99 ms": Spread(tuple(during)),
        "before, p99 ms": Spread(tuple(before)),
        "replayed, offsets/s": Spread(tuple(written)),
    }
    what = "live predictions, 500 events/s, during a replay at its default rate: p99 against before"
    return [Figure("replay-live", what, ratios(during, before), "", "at most", 1.5, absolute)]
