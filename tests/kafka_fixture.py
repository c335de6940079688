"""One Kafka for a test session, shared by all its workers, and gone when the last of them is, however it ended.

Every worker holds a shared lock on one file while it tests. A guard, a process of its own, waits until it can have
that lock alone; then nobody is left, be it that the session is over or that it was killed, and it ends the broker.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

IMAGE = "apache/kafka:4.3.1"
START_SECONDS = 60
_PREFIXES: list[str] = []


def add_option(parser: pytest.Parser) -> None:
    parser.addoption(
        "--kafka",
        default="embedded",
        metavar="embedded|container|HOST:PORT",
        help=f"the Kafka to test with: our embedded one (default), {IMAGE} in Docker, or one that runs",
    )


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Lend ``host:port`` of the session's Kafka; what a test makes there begins with `prefix`."""
    chosen = request.config.getoption("--kafka")
    if ":" in chosen:
        yield _answering(chosen)
        _clean_up(chosen)
        return
    if chosen not in ("embedded", "container"):
        pytest.exit(f"--kafka {chosen}: it is embedded, container or HOST:PORT", returncode=4)
    base = tmp_path_factory.getbasetemp()
    # Under xdist each worker has a folder of its own inside the session's.
    home = (base.parent if hasattr(request.config, "workerinput") else base) / "kafka"
    home.mkdir(exist_ok=True)
    with _locked(home / "users", fcntl.LOCK_SH):
        with _locked(home / "starting", fcntl.LOCK_EX):
            address = _embedded(home) if chosen == "embedded" else _container(home)
        yield address


@pytest.fixture
def prefix() -> str:
    """Return what a test puts before the name of each topic, group and transactional id, such as ``t1f3a9c2-``."""
    return new_prefix()


def new_prefix() -> str:
    """Return one that is nobody else's, for what several tests share."""
    _PREFIXES.append(f"t{uuid.uuid4().hex[:8]}-")
    return _PREFIXES[-1]


def _embedded(home: Path) -> str:
    from millstream.embedded_kafka.broker import EmbeddedBroker

    # It is never started again, which short sessions are for. On a crowded machine its heart can stop for seconds, and
    # a broker whose session is over is given no topics.
    broker = EmbeddedBroker(home / "broker", port=0, properties={"broker.session.timeout.ms": "60000"})
    if not broker.status().running:
        # The last session's guard may have ended one here: begin anew.
        broker.reset()
        _guard(home, f"kill -9 $(cat '{home}/broker/broker.pid')")
        broker.start(timeout=START_SECONDS)
    return broker.status().bootstrap


def _container(home: Path) -> str:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "version"], capture_output=True, check=False).returncode != 0:
        pytest.skip("--kafka container: no Docker answers here; start it, or test with --kafka embedded")
    note = home / "container"
    if note.exists():
        name, address = note.read_text().split()
        if _container_runs(docker, name):
            return address
    name, address = _start_container()
    note.write_text(f"{name} {address}")
    _guard(home, f"'{docker}' rm -fv {name}")
    deadline = time.monotonic() + START_SECONDS
    from millstream.embedded_kafka.process import takes_requests

    while not takes_requests(int(address.rpartition(":")[2])):
        if time.monotonic() > deadline or not _container_runs(docker, name):
            said = subprocess.run([docker, "logs", "--tail", "5", name], capture_output=True, text=True, check=False)
            pytest.fail(f"Kafka in the container {name} does not answer: {said.stdout}{said.stderr}")
        time.sleep(0.1)
    return address


def _start_container() -> tuple[str, str]:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    from millstream.embedded_kafka.server_properties import SETTINGS, free_port

    # Its reaper would take the container away when the worker that started it ends; the guard knows all workers.
    testcontainers_config.ryuk_disabled = True
    port = free_port()
    settings = {
        **SETTINGS,
        # The broker calls itself to verify transactions; in its container, the host's port is nobody's.
        "listeners": "PLAINTEXT://:9092,INSIDE://localhost:19092,CONTROLLER://localhost:9093",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port},INSIDE://localhost:19092",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "INSIDE",
        "controller.quorum.voters": "1@localhost:9093",
    }
    container = DockerContainer(IMAGE)
    # `with_bind_ports` takes no address, and without one the whole network can reach it.
    container.ports["9092/tcp"] = ("127.0.0.1", port)
    container.with_envs(**{f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()})
    name = f"millstream-test-{uuid.uuid4().hex[:8]}"
    container.with_name(name).start()
    return name, f"127.0.0.1:{port}"


def _container_runs(docker: str, name: str) -> bool:
    answer = subprocess.run(
        [docker, "inspect", "-f", "{{.State.Running}}", name], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() == "true"


def _guard(home: Path, end: str) -> None:
    """Leave a process that runs the shell command `end`, and clears up, when nobody uses this Kafka any more."""
    script = (
        "import fcntl, shutil, subprocess, sys\n"
        "with open(sys.argv[1] + '/users', 'w') as users:\n"
        "    fcntl.flock(users, fcntl.LOCK_EX)\n"
        "    subprocess.run(sys.argv[2], shell=True)\n"
        "    shutil.rmtree(sys.argv[1] + '/broker', ignore_errors=True)\n"
    )
    # The shell lets go of it at once, so that no worker has a child left to wait for.
    subprocess.run(
        ["/bin/sh", "-c", '"$@" </dev/null >/dev/null 2>&1 &', "sh", sys.executable, "-c", script, str(home), end],
        start_new_session=True,
        check=True,
    )


@contextmanager
def _locked(file: Path, how: int) -> Iterator[None]:
    with file.open("a") as opened:
        fcntl.flock(opened, how)
        yield


def _answering(address: str) -> str:
    host, _, port = address.partition(",")[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        pytest.exit(f"--kafka {address}: nothing answers there ({error})", returncode=4)
    return address


def _clean_up(address: str) -> None:
    """Delete from somebody's own Kafka what this session's tests made."""
    from raw_kafka import raw_admin

    from runtime.kafka_client.cluster import Cluster

    with raw_admin(Cluster(address)) as admin:
        ours = [topic for topic in admin.list_topics() if topic.startswith(tuple(_PREFIXES))]
        if ours:
            admin.delete_topics(ours)
