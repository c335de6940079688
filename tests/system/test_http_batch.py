"""`millstream serve` with a batch model: answers, waiting for a version, swaps under load, and kill -9."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from batch_log import simple_rows
from batch_versions import announce, put_version
from system.commands import millstream, traced
from system.http_server import SECONDS, free_port, is_ready, running, until
from system.oracle import Stream, examples, predictions

from millstream.stream.load import load_stream
from model_store import open_store
from runtime.kafka_client.cluster import Cluster

FILE = """
from river import linear_model
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from millstream import BatchModel, Join, Stream

def of(estimator):
    return BatchModel(lambda: make_pipeline(DictVectorizer(sparse=False), estimator()), deploy="by-hand")

stream = Stream(
    name="served",
    task="binary",
    features={"x": "number", "y": "number"},
    model=linear_model.LogisticRegression,
    batch={
        "line": of(LogisticRegression),
        "large": of(lambda: ExtraTreesClassifier(n_estimators=150, random_state=1)),
    },
    join=Join(),
)
"""
ROWS = simple_rows(600)
LANES = 3


class Site:
    """A served stream with a batch model that serves, and nothing that learns."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path) -> None:
        file = folder / "served.py"
        file.write_text(FILE)
        self.stream = Stream(str(file), bootstrap, prefix, folder / "home")
        millstream(self.stream, "topics", "create", self.stream.ref)
        self.loaded = load_stream(str(file))
        self.cluster = Cluster(bootstrap)
        self.store = open_store(self.stream.models, self.stream.home / "keys", sign=True)

    def publish(self, name: str, epoch: int, count: int) -> str:
        rows = ROWS[:count]
        features, labels = [each.features for each in rows], [each.label for each in rows]
        manifest = put_version(self.store, self.loaded.of_model(name), epoch, features, labels)
        announce(self.cluster, self.stream.names, self.store, manifest)
        return str(manifest.version)

    def serves(self, name: str) -> None:
        millstream(self.stream, "models", "promote", self.stream.ref, name, "--why", "a test")


@pytest.fixture
def site(bootstrap: str, prefix: str, tmp_path: Path) -> Site:
    return Site(bootstrap, prefix, tmp_path)


def event(name: str, row: int = 0, **more: Any) -> dict[str, Any]:
    return {"event_id": name, "features": ROWS[row].features, **more}


def asked(client: httpx.Client, sent: dict[str, Any]) -> httpx.Response:
    """Ask until there is an answer, as a client does while a server begins again: an event has one answer."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            found: httpx.Response | None = client.post("/v1/predict", json=sent)
        except httpx.TransportError:
            found = None
        if found is not None and found.status_code != 503:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.1)


def apart(process: Any) -> list[psutil.Process]:
    """Return the processes of large versions that this server has started."""
    found = []
    for each in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "model_process_main" in " ".join(each.cmdline()):
                found.append(each)
    return found


def test_a_stream_with_only_a_batch_model_answers_over_http(site: Site) -> None:
    first = site.publish("line", 1, 200)
    site.serves("line")
    port = free_port()
    words = ("serve", site.stream.ref, "--port", str(port), "--workers", "1")
    with (
        running(site.stream, *words) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client,
    ):
        until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready")
        answer = client.post("/v1/predict", json=event("a"))
        assert (answer.status_code, answer.headers["x-model-version"]) == (200, first), answer.text
        assert answer.json()["version"] == first == "line:1/200"
        several = client.post("/v1/predict", json={"events": [event(f"b{row}", row) for row in range(20)]}).json()
        assert {each["version"] for each in several["answers"]} == {first}
        tensors = {
            "id": "v2",
            "inputs": [
                {"name": name, "shape": [2, 1], "datatype": "FP64", "data": [ROWS[n].features[name] for n in range(2)]}
                for name in ("x", "y")
            ],
        }
        inferred = client.post("/v2/models/served/infer", json=tensors)
        assert inferred.status_code == 200, inferred.text
        assert inferred.json()["model_version"] == "line-1-200"
        # A version to come is waited for; one of another model that does not serve is refused at once.
        early = client.post("/v1/predict?min_version=line:2/300&wait=100ms", json=event("c"))
        assert (early.status_code, early.json()["error"]["code"]) == (503, "version"), early.text
        other = client.post("/v1/predict?min_version=large:1/1&wait=20s", json=event("d"))
        assert (other.status_code, other.json()["error"]["code"]) == (409, "decided"), other.text
        waited: list[httpx.Response] = []

        def wait() -> None:
            address = f"http://127.0.0.1:{port}/v1/predict?min_version=line:2/300&wait=30s"
            waited.append(httpx.post(address, json=event("e"), timeout=60))

        waiting = threading.Thread(target=wait)
        waiting.start()
        second = site.publish("line", 2, 300)
        waiting.join(SECONDS)
        assert waited[0].json()["version"] == second == "line:2/300"
        # Labels are joined with what the batch model has answered.
        assert client.post("/v1/labels", json={"event_id": "a", "value": True}).status_code == 202
        with running(site.stream, "joiner", site.stream.ref) as joiner:
            until(lambda: len(examples(site.stream)) == 1, "the example of the label")
            [(_, joined)] = examples(site.stream)
            assert joined.outcome is not None
            assert (joined.outcome.model, joined.outcome.epoch) == ("served.line", 1)
            joiner.send_signal(signal.SIGTERM)
        code, told = traced(site.stream, "e")
        assert (code, told["again"]["equal"]) == (0, True)
        server.send_signal(signal.SIGTERM)
        assert server.wait(SECONDS) == 0


class Load:
    """Clients that ask all the time; each keeps its connection, and asks again where it breaks."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._stop = threading.Event()
        self.killing = False
        self.answers: list[tuple[int, int, str, str]] = []
        """Client, status, version and event of each answer."""
        self._lanes = [threading.Thread(target=self._ask, args=(lane,)) for lane in range(LANES)]

    def __enter__(self) -> Load:
        for each in self._lanes:
            each.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        for each in self._lanes:
            each.join(SECONDS)

    def _ask(self, lane: int) -> None:
        with httpx.Client(base_url=self._base, timeout=60) as client:
            for number in range(100_000):
                if self._stop.is_set():
                    return
                sent = numbered(lane, number)
                found = asked(client, sent) if self.killing else client.post("/v1/predict", json=sent)
                version = found.headers.get("x-model-version", "")
                self.answers.append((lane, found.status_code, version, f"{lane}-{number}"))
                self._stop.wait(0.005)

    def expect_breaks(self) -> None:
        """Ask patiently from now on, once all that was asked without patience has its answer."""
        self.killing = True
        before = Counter(lane for lane, *_ in self.answers)
        until(
            lambda: all((Counter(lane for lane, *_ in self.answers) - before)[lane] > 1 for lane in range(LANES)),
            "two more answers of each client",
        )

    def until(self, version: str) -> None:
        until(lambda: any(each[2] == version for each in self.answers[-20:]), f"answers of {version}")

    def versions_of(self, lane: int) -> list[str]:
        """Return the versions that a client was answered by, each once for each run of answers."""
        return [version for version, _ in groupby(each[2] for each in self.answers if each[0] == lane)]


def numbered(lane: int, number: int) -> dict[str, Any]:
    return event(f"{lane}-{number}", number % len(ROWS))


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def killed(server: Any, its: psutil.Process) -> None:
    """Kill a server with all its processes but that of its version, which ends by itself."""
    for each in [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]:
        if each.pid != its.pid:
            with suppress(psutil.NoSuchProcess):
                os.kill(each.pid, signal.SIGKILL)
    until(lambda: ended(its), "the end of the version's process")


@pytest.mark.full
def test_versions_are_swapped_under_load_and_after_a_kill_the_same_version_serves(site: Site) -> None:
    order = [site.publish("line", 1, 200)]
    site.serves("line")
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    words = ("serve", site.stream.ref, "--port", str(port), "--workers", "1")
    with running(site.stream, *words) as server, httpx.Client(base_url=base, timeout=60) as client:
        until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready")
        with Load(base) as load:
            load.until(order[0])
            for epoch in (2, 3):
                order.append(site.publish("line", epoch, 200 + epoch))
                load.until(order[-1])
            order.append(site.publish("large", 1, 500))
            site.serves("large")
            load.until(order[-1])
            [its] = apart(server)
            load.expect_breaks()
            time.sleep(0.5)  # what was asked without patience has its answer
            # The process of a large version is killed: the server begins again, and every event is answered.
            os.kill(its.pid, signal.SIGKILL)
            until(lambda: any(each.pid != its.pid for each in apart(server)), "another process of the version")
            count = len(load.answers)
            until(lambda: len(load.answers) > count + 30, "answers after it")
        assert {code for _, code, _, _ in load.answers} == {200}
        for lane in range(LANES):
            assert load.versions_of(lane) == order, "no version comes back"
        last = [int(part) for part in load.answers[-1][3].split("-")]
        before = client.post("/v1/predict", json=numbered(*last)).json()
        [its] = apart(server)
        killed(server, its)

    with running(site.stream, *words) as server, httpx.Client(base_url=base, timeout=60) as client:
        until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready again")
        assert client.post("/v1/predict", json=numbered(*last)).json() == {**before, "repeated": True}
        assert client.post("/v1/predict", json=event("new")).headers["x-model-version"] == order[-1]
        sent = {each[3] for each in load.answers}
        until(lambda: sent <= {each.event.event_id for each in predictions(site.stream)}, "all predictions on Kafka")
        assert not [each for each in predictions(site.stream) if each.outcome.error]
        server.send_signal(signal.SIGTERM)
        assert server.wait(SECONDS) == 0
