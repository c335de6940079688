"""`status --watch` while Kafka is away or slow: it says so, and never that all is well."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest
from unit.test_status_view import REPORT

from millstream.status import watch as watching
from millstream.status.report import Report, Typed
from millstream.status.watch import Looks, watch
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

Shown = tuple[Report | None, str | None]


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def looks(tmp_path: Path, port: int, kind: type[Looks] = Looks) -> Looks:
    return kind(Cluster(f"127.0.0.1:{port}"), Names("fraud"), tmp_path, tmp_path, Typed("fraud", "fraud.py"))


def test_a_kafka_that_is_away_is_said_at_once(tmp_path: Path) -> None:
    shown: list[Shown] = []
    stop = threading.Event()

    def show(report: Report | None, why: str | None) -> None:
        shown.append((report, why))
        stop.set()

    began = time.monotonic()
    watch(looks(tmp_path, closed_port()), stop, 0.01, show)
    assert time.monotonic() - began < 5, "the client by itself would try for half a minute"
    [(report, why)] = shown
    assert report is None
    assert why is not None
    assert why.startswith("cannot look now: NoBroker: no Kafka answers at 127.0.0.1:")


class Slow(Looks):
    """Answers at once the first time, and then only when it was said that it does not."""

    told = threading.Event()
    times = 0

    def next(self) -> Report:
        self.times += 1
        if self.times > 1:
            assert self.told.wait(20)
        return REPORT


def test_a_kafka_that_does_not_answer_is_said_while_the_look_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PATIENCE_S", 0.05)
    shown: list[Shown] = []
    stop = threading.Event()

    def show(report: Report | None, why: str | None) -> None:
        shown.append((report, why))
        if why is not None:
            Slow.told.set()
        elif Slow.told.is_set():
            stop.set()

    watch(looks(tmp_path, closed_port(), Slow), stop, 0.01, show)
    late = (REPORT, "cannot look now: Kafka has not answered for 0.05 s")
    assert shown == [(REPORT, None), late, (REPORT, None)]
