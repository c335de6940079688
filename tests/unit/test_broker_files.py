"""What the embedded broker is told, and how its failures are put into words."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.embedded_kafka.process import reason_in, takes_requests
from millstream.embedded_kafka.server_properties import (
    SETTINGS,
    free_port,
    is_free,
    log4j_properties,
    server_properties,
)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def properties(**extra: str) -> dict[str, str]:
    text = server_properties(data=Path("/somewhere/data"), port=1, controller_port=2, extra=extra)
    return dict(line.split("=", 1) for line in text.splitlines())


def test_it_listens_on_the_loopback_address_only() -> None:
    assert properties()["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert properties()["advertised.listeners"] == "PLAINTEXT://127.0.0.1:1"


def test_a_users_settings_are_stronger_than_ours() -> None:
    assert properties(**{"message.max.bytes": "7", "auto.create.topics.enable": "true"}).items() >= {
        ("message.max.bytes", "7"),
        ("auto.create.topics.enable", "true"),
        ("offsets.retention.minutes", SETTINGS["offsets.retention.minutes"]),
    }


def test_k13_a_session_is_not_over_when_a_crowded_machine_stands_still() -> None:
    """Else the partitions have no leader for a moment: it is Kafka's own 9 s, and no kill has to wait for it."""
    assert "broker.session.timeout.ms" not in properties()


def test_a_value_cannot_become_a_setting_of_its_own() -> None:
    assert properties(a="b\nlisteners=PLAINTEXT://0.0.0.0:1")["listeners"].startswith("PLAINTEXT://127.0.0.1")


def test_kafkas_log_is_rotated_where_it_is_told_to_write() -> None:
    text = log4j_properties(Path("/a/server.log"))
    assert "appender.file.fileName = /a/server.log\n" in text
    assert "appender.file.strategy.max = 3" in text


def test_a_free_port_is_below_those_of_outgoing_connections(taken_port: int) -> None:
    assert not is_free(taken_port)
    assert 20_000 <= free_port() < 32_000


@pytest.mark.parametrize(
    ("said", "way_out"),
    [
        ("java.io.IOException: No space left on device", "make room"),
        ("java.net.BindException: Address already in use", "start it again"),
        ("Failed to acquire lock on file .lock in /data", "another Kafka"),
        ("2026-01-01 ERROR Server: the moon is full\n2026-01-01 INFO more", "the moon is full"),
        ("", "did not say why"),
    ],
)
def test_the_reason_of_a_failed_start_is_one_clause(said: str, way_out: str) -> None:
    assert way_out in reason_in(said)
    assert "\n" not in reason_in(said)


def test_a_server_that_is_no_kafka_is_not_taken_for_one(taken_port: int) -> None:
    assert not takes_requests(free_port())


def test_a_broker_that_was_never_started_has_a_status(tmp_path: Path) -> None:
    status = EmbeddedBroker(tmp_path / "broker", port=12345).status()
    assert (status.running, status.pid, status.bootstrap, status.data_bytes) == (False, None, "127.0.0.1:12345", 0)
    assert EmbeddedBroker(tmp_path / "broker").status().bootstrap == "127.0.0.1:19092"


@pytest.mark.parametrize("note", ["1", "999999999", "", "not a number", "-3"])
def test_a_pid_file_that_names_another_process_harms_nobody(tmp_path: Path, note: str) -> None:
    (tmp_path / "broker.pid").write_text(note)
    broker = EmbeddedBroker(tmp_path)
    assert not broker.status().running
    broker.kill()
    assert broker.stop() is False
