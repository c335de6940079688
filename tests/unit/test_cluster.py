"""A client that finds no broker leaves nothing open, and says whether the broker may be back soon."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import command_server
import psutil
import pytest

from runtime.exits import FAILED, TRY_AGAIN
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.libraries import library_named
from runtime.kafka_client.library_names import PACKAGES

AWAY = "what listened there has just ended"


def test_a_client_that_finds_no_broker_leaves_no_file_open() -> None:
    this = psutil.Process()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = Cluster(f"127.0.0.1:{silent.getsockname()[1]}")
        opened = []
        for _ in range(2):
            with pytest.raises(NoBroker, match="does not answer as a Kafka without TLS") as caught:
                cluster.producer(bootstrap_timeout_ms=200)
            assert not caught.value.passing
            opened.append(this.num_fds())
    assert opened == [opened[0]] * 2


@contextmanager
def killed_broker() -> Iterator[str]:
    """Yield the address of what takes connections until a client has sent something, as a killed broker may."""
    listening = socket.create_server(("127.0.0.1", 0))

    def end() -> None:
        with listening:
            while True:
                caller, _ = listening.accept()
                with caller:
                    if caller.recv(1):
                        return

    ending = threading.Thread(target=end)
    ending.start()
    yield "{}:{}".format(*listening.getsockname())
    ending.join()


@pytest.mark.parametrize("library", PACKAGES)
def test_a_broker_that_ends_while_a_client_is_made_may_be_back_soon(library: str) -> None:
    with killed_broker() as address, pytest.raises(NoBroker, match=AWAY) as caught:
        Cluster(address, library=library_named(library)).producer(bootstrap_timeout_ms=1000)
    assert caught.value.passing
    for ask in (lambda: Cluster(address).consumer(), lambda: Cluster(address).require(0.1)):
        with pytest.raises(NoBroker, match="no Kafka answers at") as caught:
            ask()
        assert caught.value.passing


def joiner(address: str, home: Path) -> tuple[int, str]:
    where = {"MILLSTREAM_BOOTSTRAP": address, "MILLSTREAM_HOME": str(home)}
    done = command_server.run("joiner", "phishing", env={**where, "MILLSTREAM_KAFKA_BOOTSTRAP_TIMEOUT_MS": "500"})
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_role_that_meets_a_broker_in_its_last_moment_is_to_start_again(tmp_path: Path) -> None:
    with killed_broker() as address:
        code, said = joiner(address, tmp_path)
    assert (code, AWAY in said) == (TRY_AGAIN, True), said


def test_a_role_that_meets_something_else_is_not_to_start_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, said = joiner(f"127.0.0.1:{silent.getsockname()[1]}", tmp_path)
    assert (code, "does not answer as a Kafka without TLS" in said) == (FAILED, True), said
