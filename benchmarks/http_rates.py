"""Requests a second over HTTP: against FastAPI and a bare server, without Kafka, and with two workers."""

from __future__ import annotations

from benchmarks.figures import Figure, Spread, ratios
from benchmarks.http_servers import CONNECTIONS, Loaded, Server, Site, bare_server, peer_server, publish_trained
from benchmarks.peers import environment
from benchmarks.rig import Broken, Rig
from benchmarks.throughput import Size

_LOGGED = "one worker, each answer logged"


def _site(rig: Rig, prefix: str) -> Site:
    names = rig.names(prefix)
    publish_trained(rig, names)
    return Site(rig, names)


def http_rate(rig: Rig, size: Size) -> list[Figure]:
    """Requests/s of one worker that logs each answer, against FastAPI and against a bare server, which log nothing."""
    site = _site(rig, "http-rate")
    rounds: dict[str, list[Loaded]] = {"ours": [], "FastAPI": [], "bare": []}
    ceiling: list[float] = []
    with site.server() as ours, peer_server(rig) as peer, bare_server(rig) as bare:
        for _ in range(size.rounds):
            rounds["ours"].append(_logged(site, ours, size.seconds))
            if peer is not None:
                rounds["FastAPI"].append(peer.load(size.seconds))
            rounds["bare"].append(bare.load(size.seconds))
            ceiling.append(_ceiling(rounds["bare"][-1]))
    figures = []
    if rounds["FastAPI"]:
        figures += _against_peer(rounds["ours"], rounds["FastAPI"])
    absolute = {**_absolute(rounds, "ours"), **_absolute(rounds, "bare")}
    absolute["requests/s that the load can send at most"] = Spread(tuple(ceiling))
    what = f"HTTP, {_LOGGED}: requests/s against a bare RSGI app that parses, predicts, answers"
    figures.append(Figure("http-bare", what, _ratio(rounds["ours"], rounds["bare"]), "", "at least", 0.7, absolute))
    return figures


def _logged(site: Site, server: Server, seconds: float) -> Loaded:
    """Put load on our server. Raises Broken unless all its answers, and nothing else, are on Kafka then."""
    since = site.rig.ends(site.names.topic("predictions"))
    found = server.load(seconds)
    site.forwarded()
    logged = site.logged(since)
    if logged != found.load.answered:
        raise Broken(f"{found.load.answered} requests were answered, and {logged} answers are on Kafka")
    return found


def _ceiling(found: Loaded) -> float:
    """Return the requests/s that the load could send, by its own processor time a request."""
    return found.load.rate / found.load.cpu


def _ratio(ours: list[Loaded], other: list[Loaded]) -> Spread:
    return ratios([each.load.rate for each in ours], [each.load.rate for each in other])


def _absolute(rounds: dict[str, list[Loaded]], name: str) -> dict[str, Spread]:
    found = rounds[name]
    return {
        f"{name}, requests/s": Spread(tuple(each.load.rate for each in found)),
        f"{name}, p99 ms": Spread(tuple(each.load.p99 for each in found)),
        f"{name}, processor time a request, µs": Spread(tuple(each.server_us for each in found)),
    }


def _against_peer(ours: list[Loaded], peer: list[Loaded]) -> list[Figure]:
    python = environment.python()
    assert python is not None
    versions = ", ".join(f"{name} {number}" for name, number in environment.versions(python).items())
    rounds = {"ours": ours, "FastAPI": peer}
    absolute = {**_absolute(rounds, "ours"), **_absolute(rounds, "FastAPI")}
    what = f"HTTP, {_LOGGED}: requests/s against FastAPI + River on uvicorn, which logs nothing"
    tails = ratios([each.load.p99 for each in ours], [each.load.p99 for each in peer])
    tail = f"HTTP, {_LOGGED}, {CONNECTIONS} connections, as many requests as it takes: p99 against FastAPI + River"
    return [
        Figure("http-fastapi", what, _ratio(ours, peer), "", "at least", 3.0, absolute, versions),
        Figure("http-fastapi-p99", tail, tails, "", "at most", 1.0, absolute, versions),
    ]


def http_away(rig: Rig, size: Size) -> list[Figure]:
    """Requests/s while Kafka is away, against the same with Kafka."""
    site = _site(rig, "http-away")
    there, away = [], []
    for _ in range(size.rounds):
        with site.server() as server:
            there.append(server.load(size.seconds).load.rate)
            site.forwarded()
            with rig.kafka_away():
                away.append(server.load(size.seconds).load.rate)
    absolute = {"without Kafka, requests/s": Spread(tuple(away)), "with Kafka, requests/s": Spread(tuple(there))}
    what = f"HTTP, {_LOGGED}: requests/s with Kafka away against with Kafka"
    return [Figure("http-away", what, ratios(away, there), "", "at least", 0.95, absolute)]


def http_workers(rig: Rig, size: Size) -> list[Figure]:
    """Requests/s of two workers against one."""
    site = _site(rig, "http-workers")
    one, two = [], []
    for _ in range(size.rounds):
        for workers, found in ((1, one), (2, two)):
            with site.server(workers) as server:
                found.append(server.load(size.seconds).load.rate)
                site.forwarded()
    absolute = {"two workers, requests/s": Spread(tuple(two)), "one worker, requests/s": Spread(tuple(one))}
    what = "HTTP, each answer logged: requests/s of two workers against one"
    note = "printed; nothing is required. Load, forwarder and broker share the CPUs with the workers"
    return [Figure("http-workers", what, ratios(two, one), "", "at least", 0.0, absolute, note)]
