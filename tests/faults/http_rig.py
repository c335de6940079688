"""A stream of real processes that is asked over HTTP, with a caller that asks until it is answered."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from faults.processes import Member
from faults.rig import SECONDS, Rig
from faults.verdict import due
from system.http_server import free_port
from system.oracle import assert_versions_are_functions_of_the_log, read_all

from millstream.processes.fork_server import ForkServer
from runtime.kafka_client.cluster import Cluster
from schemas.codec import TICK
from schemas.events import peek_event_id, read_example, read_prediction


class Caller(threading.Thread):
    """Asks one event after the other, each until it is answered, and sends its label.

    Attributes
    ----------
    heard
        By event id, the status and the answer. Some events are refused: their feature is out of range.
    faults
        What must not be, in words.
    """

    def __init__(self, base: str, rng: random.Random, rate: float) -> None:
        super().__init__(name="caller", daemon=True)
        self._base, self._rng, self._rate = base, rng, rate
        self._ended = threading.Event()
        self._prefix = f"h{rng.randrange(1 << 32):x}"
        self.heard: dict[str, tuple[int, dict[str, Any]]] = {}
        self.labels: set[str] = set()
        self.faults: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._base, timeout=20) as client:
            while not self._ended.wait(1 / self._rate):
                self._ask(client, f"{self._prefix}-{len(self.heard)}")

    def _ask(self, client: httpx.Client, event_id: str) -> None:
        x = 500.0 if self._rng.random() < 0.05 else self._rng.gauss(0, 1)
        event = {"event_id": event_id, "features": {"x": x, "y": self._rng.gauss(0, 1)}}
        status, answer = self._insist(client, "/v1/predict", event)
        self.heard[event_id] = status, answer
        if self._rng.random() < 0.2:
            again, same = self._insist(client, "/v1/predict", event)
            if (again, same) != (status, {**answer, "repeated": True}):
                self.faults.append(f"{event_id} was answered {answer} and then {same}")
        if status == 200:
            label = {"event_id": event_id, "value": x > 0}
            self._insist(client, "/v1/labels", label)
            self.labels.add(event_id)

    def _insist(self, client: httpx.Client, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        while True:
            try:
                response = client.post(path, json=body)
            except httpx.TransportError:
                self._ended.wait(0.05) if not self._ended.is_set() else time.sleep(0.05)
                continue
            if response.status_code == 503:
                time.sleep(0.05)
                continue
            if response.status_code not in (200, 202, 422):
                self.faults.append(f"{path} {body}: {response.status_code} {response.text}")
            answer: dict[str, Any] = response.json()
            return response.status_code, answer

    def end(self) -> None:
        """End after the event that is under way."""
        self._ended.set()
        self.join(SECONDS)
        assert not self.is_alive(), "the last event was not answered"


class HttpRig(Rig):
    """A rig whose events come over HTTP; servers and forwarders are kept up beside the other roles."""

    def __init__(self, bootstrap: str, prefix: str, folder: Path, fork_server: ForkServer, rate: float) -> None:
        super().__init__(bootstrap, prefix, folder, fork_server)
        self.http: dict[str, Member] = {}
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.rate = rate
        self.caller: Caller | None = None

    def start_http(self, role: str, *words: str, armed: tuple[str, ...] = (), instance: str = "0") -> Member:
        """Start a server or a forwarder; `armed` as of `start`, `words` are further arguments."""
        arguments = [role, self.stream.ref, "--instance", instance, *words]
        member = Member(
            role,
            instance,
            arguments,
            self.stream.environment(),
            self._fork_server,
            self.folder / f"{role}-{instance}.log",
        )
        self.http[member.name] = member
        member.armed.extend(armed)
        member.start()
        return member

    def call(self, rng: random.Random) -> None:
        """Let events come, and wait until the first is learned."""
        self.caller = Caller(self.base, rng, self.rate)
        self.caller.start()
        self.until(lambda: self.learned() >= 1, "the first to be learned")

    def look(self) -> None:
        for member in self.http.values():
            member.look()
        super().look()

    def is_ready(self) -> bool:
        """Return whether the server answers that it is ready."""
        try:
            return httpx.get(f"{self.base}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def end_http(self) -> None:
        """End servers, then forwarders, in order."""
        for role in ("server", "forwarder"):
            for member in self.http.values():
                if member.role == role:
                    member.end()

    def judge_http(self) -> None:
        """End the caller, wait until all is learned, end everything, and look at what became of each event."""
        caller = self.caller
        assert caller is not None
        caller.end()
        assert caller.faults == []
        self.until(lambda: self.counted["predictions"] >= len(caller.heard), "all answers to be on Kafka")
        self.until(lambda: self._labels_there() >= len(caller.labels), "all labels to be on Kafka")
        expected = due(self.stream)
        self.until(lambda: self.learned() >= len(expected), f"a version of {len(expected)} examples")
        self.end_http()
        self.end_roles()
        logged = [read_prediction(record.value) for record in read_all(self.stream.bootstrap, self.names.whole)]
        times = Counter(each.event.event_id for each in logged)
        assert times.keys() == caller.heard.keys(), "answered ids = logged ids"
        assert [each for each, count in times.items() if count > 1] == []
        for each in logged:
            status, answer = caller.heard[each.event.event_id]
            outcome = each.outcome
            said = (outcome.status, outcome.prediction, outcome.version if status == 200 else None)
            assert said == ("ok" if status == 200 else "error", answer.get("prediction"), answer.get("version"))
        places = Counter((o.source_topic, o.source_partition, o.source_offset) for o in (e.outcome for e in logged))
        assert max(places.values()) == 1
        examples = Counter(
            read_example(r.value).event.event_id for r in read_all(self.stream.bootstrap, self.names.topic("examples"))
        )
        assert examples == dict.fromkeys(caller.labels, 1) == dict.fromkeys(expected, 1)
        newest = assert_versions_are_functions_of_the_log(self.stream)
        assert newest.examples == len(expected)

    def _labels_there(self) -> int:
        records = read_all(self.stream.bootstrap, self.names.topic("labels"))
        return len({peek_event_id(r.value) for r in records if not r.value.startswith(TICK.header)})

    def __exit__(self, *error: Any) -> None:
        if self.caller is not None:
            self.caller._ended.set()
        for member in self.http.values():
            if member.process is not None:
                member.process.kill()
                member.process.wait()
            print(f"===== {member.name}, ended {member.ends}\n{member.said()}")
        super().__exit__(*error)


__all__ = ["Caller", "Cluster", "HttpRig", "free_port"]
