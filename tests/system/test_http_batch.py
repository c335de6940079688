"""`millstream serve` with a batch model: answers, waiting for a version, swaps under load, and kill -9."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
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
def site(bootstrap: str, prefix: str, tmp_path: Path) -> Iterator[Site]:
    with closing(httpx.Client()):
        yield Site(bootstrap, prefix, tmp_path)


def event(name: str, row: int = 0, **more: Any) -> dict[str, Any]:
    return {"event_id": name, "features": ROWS[row].features, **more}


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
        assert first.replace("/", "-") in inferred.text or first in inferred.text
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


def test_versions_are_swapped_under_load_and_after_a_kill_the_same_version_serves(site: Site) -> None:
    site.publish("line", 1, 200)
    site.serves("line")
    port, stop = free_port(), threading.Event()
    base = f"http://127.0.0.1:{port}"
    answers: list[tuple[int, int, str, str]] = []
    words = ("serve", site.stream.ref, "--port", str(port), "--workers", "1")

    def load(lane: int) -> None:
        with httpx.Client(base_url=base, timeout=60) as client:
            for number in range(100_000):
                if stop.is_set():
                    return
                name = f"{lane}-{number}"
                found = client.post("/v1/predict", json=event(name, number % 600))
                answers.append((lane, found.status_code, found.headers.get("x-model-version", ""), name))
                stop.wait(0.005)

    with running(site.stream, *words) as server, httpx.Client(base_url=base, timeout=60) as client:
        until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready")
        lanes = [threading.Thread(target=load, args=(lane,)) for lane in range(3)]
        for each in lanes:
            each.start()

        def seen(version: str) -> bool:
            return any(each[2] == version for each in answers[-20:])

        until(lambda: seen("line:1/200"), "answers of the first version")
        for epoch in (2, 3):
            site.publish("line", epoch, 200 + epoch)
            until(lambda epoch=epoch: seen(f"line:{epoch}/{200 + epoch}"), "answers of the next version")  # type: ignore[misc]
        site.publish("large", 1, 500)
        site.serves("large")
        until(lambda: seen("large:1/500"), "answers of a version in a process of its own")
        [its] = apart(server)
        # The process of a large version is killed: it is started again, and every event is answered.
        os.kill(its.pid, signal.SIGKILL)
        until(lambda: any(each.pid != its.pid for each in apart(server)), "another process of the version")
        count = len(answers)
        until(lambda: len(answers) > count + 30, "answers after it")
        stop.set()
        for each in lanes:
            each.join(SECONDS)
        assert {code for _, code, _, _ in answers} == {200}
        order = ["line:1/200", "line:2/202", "line:3/203", "large:1/500"]
        for lane in range(3):
            of = [order.index(version) for each, _, version, _ in answers if each == lane]
            assert of == sorted(of), "no version comes back"
        last = answers[-1][3]
        before = client.post("/v1/predict", json=event(last, int(last.split("-")[1]) % 600)).json()
        [its] = apart(server)
        for each in [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]:
            if each.pid != its.pid:
                with suppress(psutil.NoSuchProcess):
                    os.kill(each.pid, signal.SIGKILL)
        until(lambda: not its.is_running() or its.status() == psutil.STATUS_ZOMBIE, "the end of the version's process")

    with running(site.stream, *words) as server, httpx.Client(base_url=base, timeout=60) as client:
        until(lambda: is_ready(client) or server.poll() is not None, "a server that is ready again")
        again = client.post("/v1/predict", json=event(last, int(last.split("-")[1]) % 600)).json()
        assert again == {**before, "repeated": True}
        assert client.post("/v1/predict", json=event("new")).headers["x-model-version"] == "large:1/500"
        until(
            lambda: {each[3] for each in answers} <= {each.event.event_id for each in predictions(site.stream)},
            "all predictions on Kafka",
        )
        assert not [each for each in predictions(site.stream) if each.outcome.error]
        server.send_signal(signal.SIGTERM)
        assert server.wait(SECONDS) == 0
