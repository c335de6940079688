"""A Kafka that is away is told once, however many roles end for it; what else they say is not kept back."""

from __future__ import annotations

import os
import socket
import sys
import time

from millstream.processes.broker_outage import Outage
from millstream.processes.supervisor import Child, Supervisor
from runtime.kafka_client.cluster import Cluster

ROLES = ("predictor", "joiner", "learner")
_SCRIPT = """
import sys
from millstream.processes import role_events

role_events.begin()
print("the disk is slow", flush=True)
print("{0}: so a model begins its lines", flush=True)
role_events.cannot_follow("following {0}.models: refused")
role_events.failed("{0}", "reading failed: refused")
sys.exit(75)
"""


def _listening(port: int = 0) -> socket.socket:
    listener = socket.create_server(("127.0.0.1", port))
    listener.listen()
    return listener


def _worked(outage: Outage, said: list[str], ends: int) -> None:
    children = [Child(role, "0", (sys.executable, "-c", _SCRIPT.format(role))) for role in ROLES]
    supervisor = Supervisor(children, os.environ, said.append, outage.lasts)
    supervisor.start()
    deadline = time.monotonic() + 60
    while supervisor.restarts < ends:
        assert time.monotonic() < deadline
        supervisor.look()
        time.sleep(0.01)
    supervisor.stop()


def test_three_roles_that_end_because_kafka_is_away_are_one_line() -> None:
    listener = _listening()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    said: list[str] = []
    _worked(Outage(Cluster(address), said.append), said, ends=3)
    rest = [line for line in said if "the disk is slow" not in line and "a model" not in line]
    assert rest == [f"no Kafka answers at {address}: all roles start again, and go on when it does"]
    for role in ROLES:
        assert f"{role + '-0':<11} | {role}: so a model begins its lines" in said, "other lines are not kept back"


def test_while_kafka_answers_each_says_why_it_ends() -> None:
    with _listening() as listener:
        said: list[str] = []
        _worked(Outage(Cluster(f"127.0.0.1:{listener.getsockname()[1]}"), said.append), said, ends=3)
    for role in ROLES:
        assert any(line.startswith(role) and "reading failed" in line for line in said)
        assert any(line.startswith(role) and f"following {role}.models" in line for line in said)
        assert any(line.startswith(f"{role}-0 ended with 75") for line in said)


def test_its_return_is_told_once() -> None:
    listener = _listening()
    port, said = listener.getsockname()[1], list[str]()
    outage = Outage(Cluster(f"127.0.0.1:{port}"), said.append)
    assert not outage.lasts()
    listener.close()
    assert [outage.lasts(), outage.lasts()] == [True, True]
    with _listening(port):
        assert [outage.lasts(), outage.lasts()] == [False, False]
    assert [line.partition(" at ")[0] for line in said] == ["no Kafka answers", "Kafka answers again"]
