"""Uploads under faults: each row once in the log, each refused row one dead letter, every version a function of it."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from faults.http_rig import HttpRig
from faults.test_killed_roles import TRANSACTIONS, deaths
from faults_table import Tally
from system.oracle import assert_versions_are_functions_of_the_log, read_all

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.processes.fork_server import ForkServer
from schemas.dead_letters import read_dead_letter
from schemas.events import read_example

Rounds = Callable[[int, int], int]

SERVER = {f"upload.{place}": (1, 3) for place in ("write.before", "write.after", "complete.before", "complete.after")}
IMPORTER = {
    **dict.fromkeys(TRANSACTIONS, (1, 6)),
    **{f"importer.{place}": (1, 3) for place in ("end.before", "result.before", "result.after")},
}
ROWS, REFUSED = 120, 2
TUS = {"tus-resumable": "1.0.0"}


class Uploader(threading.Thread):
    """Sends one file after the other, whole or in parts, each until it is imported.

    Attributes
    ----------
    ids
        The ids of all rows that must be examples.
    results
        The result of each file.
    """

    def __init__(self, base: str, rng: random.Random) -> None:
        super().__init__(name="uploader", daemon=True)
        self._base, self._rng = base, rng
        self.ended = threading.Event()
        self.ids: set[str] = set()
        self.results: list[dict[str, Any]] = []
        self.sending = True

    def run(self) -> None:
        with httpx.Client(base_url=self._base, timeout=30) as client:
            while not self.ended.is_set():
                number = len(self.results)
                content = self._file(number)
                send = self._in_parts if number % 2 else self._whole
                while (result := self._insist(lambda send=send, content=content: send(client, content))) is None:
                    time.sleep(0.05)
                self.results.append(result)
        self.sending = False

    def _file(self, number: int) -> bytes:
        ids = [f"f{number}-{row}" for row in range(ROWS)]
        self.ids.update(ids)
        lines = [f"{each},{self._rng.gauss(0, 1)},{self._rng.gauss(0, 1)},{self._rng.random() > 0.5}" for each in ids]
        lines[7:7] = [f"bad{number}-{row},500,0,true" for row in range(REFUSED)]
        return "\n".join(["id,x,y,label", *lines, ""]).encode()

    def _whole(self, client: httpx.Client, content: bytes) -> dict[str, Any] | None:
        response = client.post("/v1/uploads?wait=5s", content=content)
        return self._result(client, response.json()["id"]) if response.status_code in (200, 202) else None

    def _in_parts(self, client: httpx.Client, content: bytes) -> dict[str, Any] | None:
        made = client.post("/v1/uploads", headers={**TUS, "upload-length": str(len(content))})
        if made.status_code != 201:
            return None
        place, offset = made.headers["location"], 0
        while offset < len(content):
            part = content[offset : offset + len(content) // 3 + 1]
            headers = {**TUS, "upload-offset": str(offset), "content-type": "application/offset+octet-stream"}
            self._insist(lambda headers=headers, part=part: client.patch(place, headers=headers, content=part))
            offset = int(self._insist(lambda: client.head(place, headers=TUS)).headers["upload-offset"])
        return self._result(client, place.rpartition("/")[2])

    def _result(self, client: httpx.Client, upload_id: str) -> dict[str, Any]:
        while True:
            found = self._insist(lambda: client.get(f"/v1/uploads/{upload_id}?wait=5s")).json()
            if found["state"] == "imported":
                return found
            assert found["state"] == "waiting", found

    def _insist(self, ask: Callable[[], Any]) -> Any:
        while True:
            try:
                return ask()
            except httpx.TransportError:
                time.sleep(0.05)


@pytest.fixture
def uploads(bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer) -> Iterator[HttpRig]:
    with HttpRig(bootstrap, prefix, tmp_path, fork_server, rate=1) as rig:
        rig.start("learner")
        yield rig


def judge(rig: HttpRig, uploader: Uploader) -> None:
    uploader.ended.set()
    rig.until(lambda: not uploader.sending, "the last upload to be imported")
    uploader.join()
    rig.until(lambda: rig.learned() >= len(uploader.ids), f"a version of {len(uploader.ids)} examples")
    rig.http["server-0"].end()
    rig.http["importer-0"].end()
    rig.end_roles()
    bootstrap, names = rig.stream.bootstrap, rig.names
    log = Counter(read_example(r.value).event.event_id for r in read_all(bootstrap, names.topic("examples")))
    assert log == dict.fromkeys(uploader.ids, 1)
    refused = Counter(read_dead_letter(r.value).topic for r in read_all(bootstrap, names.topic("dead-letters")))
    assert list(refused.values()) == [REFUSED] * len(uploader.results)
    for result in uploader.results:
        assert (result["taken"] + result["already"], result["refused"]) == (ROWS, REFUSED), result
        assert [each["line"] for each in result["refusals"]] == [9, 10], result
    assert assert_versions_are_functions_of_the_log(rig.stream).examples == len(uploader.ids)


@pytest.mark.full
@pytest.mark.fault("F23")
def test_server_and_importer_killed_at_every_place_each_row_is_one_example(
    uploads: HttpRig, rng: random.Random, rounds: Rounds, tally: Tally
) -> None:
    times = rounds(1, 5)
    plans = {"server-0": deaths(SERVER, rng, times), "importer-0": deaths(IMPORTER, rng, times)}
    uploads.start_http("importer", armed=tuple(plans["importer-0"]))
    uploads.start_http("server", "--port", str(uploads.port), armed=tuple(plans["server-0"]))
    uploads.until(uploads.is_ready, "a server that is ready")
    uploader = Uploader(uploads.base, rng)
    uploader.start()
    for name, plan in plans.items():
        member = uploads.http[name]
        died = lambda member=member, plan=plan: len(member.ends) >= len(plan)  # noqa: E731
        uploads.until(died, f"{name} to die {len(plan)} times", 60 * len(plan))
        said = member.log.read_text()
        assert all(f"failpoint {item.partition('=')[0]}: kill at call" in said for item in plan)
    judge(uploads, uploader)
    tally.row(sum(map(len, plans.values())), 0, 0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(tmp_path / "broker", port=0)
    broker.start(timeout=120)
    yield broker
    broker.stop()


@pytest.mark.fault("F23")
@pytest.mark.full
def test_kafka_away_uploads_are_taken_and_imported_once_when_it_is_back(
    broker: EmbeddedBroker, prefix: str, tmp_path: Path, fork_server: ForkServer, rng: random.Random, tally: Tally
) -> None:
    with HttpRig(broker.status().bootstrap, prefix, tmp_path, fork_server, 1) as rig:
        rig.start("learner")
        rig.start_http("importer")
        rig.start_http("server", "--port", str(rig.port))
        rig.until(rig.is_ready, "a server that is ready")
        uploader = Uploader(rig.base, rng)
        uploader.start()
        for seconds in (2.0, 12.0):
            seen = len(uploader.results)
            rig.until(lambda seen=seen: len(uploader.results) > seen + 1, "two more uploads")
            rig.broker_is_down = True
            broker.kill()
            rig.work(seconds)
            taken = httpx.post(f"{rig.base}/v1/uploads?wait=0s", content=b"id,x,y,label\nz,500,0,true\n", timeout=30)
            assert taken.status_code == 202, "an upload is taken without Kafka"
            broker.start(timeout=120)
            rig.broker_is_down = False
        uploader.ended.set()
        rig.until(lambda: not uploader.sending, "the last upload to be imported")
        bootstrap, names = rig.stream.bootstrap, rig.names
        log = Counter(read_example(r.value).event.event_id for r in read_all(bootstrap, names.topic("examples")))
        assert log == dict.fromkeys(uploader.ids, 1)
    tally.row(2, 0, 0)
