"""Delays over HTTP: during swaps, from an answer to Kafka, and from a label to an answer that knows it."""

from __future__ import annotations

import json
from typing import Final

from benchmarks.figures import Figure, Spread, percentile, ratios
from benchmarks.http_servers import Site, publish_trained
from benchmarks.latency import reading, until_served
from benchmarks.rig import Broken, Process, Rig, until
from benchmarks.throughput import Size
from schemas.events import read_example

_SWAP_EVERY_S: Final = 0.5
_SWAP_MB: Final = 0.1
_LABEL_RATE: Final = 100.0
_LABEL_DELAY_EVENTS: Final = 50
_FIRST_S: Final = 1.0  # left out


def http_swap(rig: Rig, size: Size) -> list[Figure]:
    """p99 of answers at half load during two swaps a second, against none."""
    names = rig.names("http-swap")
    publish_trained(rig, names)
    site = Site(rig, names)
    still, rolling, rates = [], [], []
    with site.server() as server:
        for _ in range(size.rounds):
            rate = server.load(size.seconds / 2).load.rate / 2
            site.forwarded()
            rates.append(rate)
            still.append(server.load(size.seconds, rate).load.p99)
            site.forwarded()
            roller = _roll(rig, site, size.seconds + 3)
            roller.until_ready("made")
            rolling.append(server.load(size.seconds, rate).load.p99)
            roller.wait(60)
            site.forwarded()
    absolute = {
        "two swaps a second, p99 ms": Spread(tuple(rolling)),
        "none, p99 ms": Spread(tuple(still)),
        "half load, requests/s": Spread(tuple(rates)),
    }
    what = f"HTTP, half load: p99 during two swaps a second of a {_SWAP_MB:g} MB version against none"
    return [Figure("http-swap", what, ratios(rolling, still), "", "at most", 1.5, absolute)]


def _roll(rig: Rig, site: Site, seconds: float) -> Process:
    home = str(rig.folder / site.names.prefix)
    how = (str(seconds), str(_SWAP_MB), str(_SWAP_EVERY_S))
    return rig.python("benchmarks.roller", home, rig.cluster.bootstrap, site.names.prefix, *how)


def http_published(rig: Rig, size: Size) -> list[Figure]:
    """Answer heard to record readable on Kafka, at half load."""
    names = rig.names("http-published")
    publish_trained(rig, names)
    site = Site(rig, names)
    tails, middles, rates = [], [], []
    with site.server() as server:
        for _ in range(size.rounds):
            rate = server.load(size.seconds / 2).load.rate / 2
            site.forwarded()
            rates.append(rate)
            with reading(rig, names.topic("predictions")) as arrivals:
                heard = server.load(size.seconds, rate, keep=True).load.answers
                until(lambda arrivals=arrivals, heard=heard: len(arrivals.seen) >= len(heard), 60, "answers are late")
            read = {key.decode(): at for at, key, _ in arrivals.seen}
            if read.keys() != heard.keys():
                raise Broken("what is on Kafka is not what was answered")
            since = min(heard.values()) + _FIRST_S * 1e9
            delays = [max(0, read[key] - at) / 1e9 for key, at in heard.items() if at >= since]
            tails.append(percentile(delays, 0.95))
            middles.append(percentile(delays, 0.5))
    absolute = {
        "p95, s": Spread(tuple(tails)),
        "p50, s": Spread(tuple(middles)),
        "half load, requests/s": Spread(tuple(rates)),
    }
    what = "HTTP, half load: answered to readable on Kafka, p95"
    return [Figure("http-published", what, Spread(tuple(tails)), "s", "at most", 0.3, absolute)]


def http_freshness(rig: Rig, size: Size) -> list[Figure]:
    """Label sent to the first answer by a version that has learned it, all over HTTP."""
    names = rig.names("http-fresh")
    publish_trained(rig, names)
    examples = names.topic("examples")
    site = Site(rig, names)
    tails, middles = [], []
    with site.server() as server:
        roles = [rig.role(role, names) for role in ("joiner", "learner")]
        try:
            for each in roles:
                each.until_ready()
            for _ in range(size.rounds):
                learned = sum(1 for _ in rig.values(examples, {}))
                words = (str(server.port), str(_LABEL_RATE), str(size.seconds * 2), str(_LABEL_DELAY_EVENTS))
                told = json.loads(rig.python("benchmarks.http_labels", *words).wait(size.seconds * 2 + 60))
                order = [read_example(value).event.event_id for value in rig.values(examples, {})]
                positions = {name: number + 1 for number, name in enumerate(order)}
                served = [(at, seen) for at, seen in told["answers"]]
                delays = until_served(told["labels"], positions, served, learned)
                tails.append(percentile(delays, 0.95))
                middles.append(percentile(delays, 0.5))
        finally:
            for each in roles:
                each.end()
    absolute = {"p95, s": Spread(tuple(tails)), "p50, s": Spread(tuple(middles))}
    what = "HTTP: label sent to the first answer by a version that learned it, model under 1 MB: p95"
    return [Figure("http-freshness", what, Spread(tuple(tails)), "s", "at most", 2.0, absolute)]
