"""The embedded broker as a process: it starts, survives what it should, and says why it cannot."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from raw_kafka import raw_admin

from millstream.cli import app as cli
from millstream.embedded_kafka.broker import BrokerError, EmbeddedBroker
from millstream.embedded_kafka.class_data_sharing import archive_path
from millstream.embedded_kafka.java import find_java
from millstream.embedded_kafka.prefetch import set_up
from millstream.embedded_kafka.process import alive, takes_requests
from runtime.exits import USAGE
from runtime.kafka_client.cluster import Cluster

BROKER = "from millstream.embedded_kafka.broker import EmbeddedBroker as B"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Lend a folder, and end what was started in it."""
    yield tmp_path / "broker"
    EmbeddedBroker(tmp_path / "broker").kill()


def write(bootstrap: str, topic: str, values: list[bytes]) -> None:
    with raw_admin(Cluster(bootstrap)) as admin:
        if topic not in admin.list_topics():
            admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all")
    for future in [producer.send(topic, value, partition=0) for value in values]:
        future.get(10)
    producer.close()


def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    consumer.assign([TopicPartition(topic, 0)])
    try:
        return [next(consumer).value for _ in range(count)]
    finally:
        consumer.close()


@pytest.mark.full
def test_data_survive_a_stop_and_a_kill_and_nothing_survives_a_reset(home: Path) -> None:
    broker = EmbeddedBroker(home, port=0)
    said: list[str] = []
    first = broker.start(said.append)
    assert said == ["preparing the broker's storage"]
    write(first.bootstrap, "kept", [b"1", b"2"])

    assert broker.stop() is True
    assert broker.stop() is False
    assert not broker.status().running
    assert broker.start().bootstrap == first.bootstrap
    assert read(first.bootstrap, "kept", 2) == [b"1", b"2"]
    write(first.bootstrap, "kept", [b"3"])

    pid = broker.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    left = killed_while_it_ends_the_old_session(home)
    assert broker.stop() is False
    assert not alive(left)
    left = killed_while_it_ends_the_old_session(home)
    said.clear()
    again = broker.start(said.append)
    assert said == ["the broker was not stopped in order; ending its old session"]
    assert not alive(left)
    assert again.pid != pid
    assert read(again.bootstrap, "kept", 3) == [b"1", b"2", b"3"]
    assert again.data_bytes > 0

    broker.reset()
    assert broker.status().data_bytes == 0
    with raw_admin(Cluster(broker.start().bootstrap)) as admin:
        assert "kept" not in admin.list_topics()


def killed_while_it_ends_the_old_session(home: Path) -> psutil.Process:
    """Return the controller that is left."""
    pid_file = home / "controller.pid"
    script = f"from pathlib import Path; {BROKER}; B(Path({str(home)!r})).start()"
    with subprocess.Popen([sys.executable, "-c", script]) as starter:
        deadline = time.monotonic() + 60
        while not (pid_file.exists() and pid_file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        starter.kill()
    return psutil.Process(int(pid_file.read_text()))


def test_it_outlives_who_started_it_and_is_found_by_others(home: Path) -> None:
    script = f"from pathlib import Path; {BROKER}; B(Path({str(home)!r}), port=0)"
    started = subprocess.run(
        [sys.executable, "-c", script + ".start(); import os; os.kill(os.getpid(), 9)"], check=False, timeout=60
    )
    assert started.returncode == -signal.SIGKILL
    status = EmbeddedBroker(home).status()
    assert status.running
    assert status.pid is not None
    assert os.getsid(status.pid) != os.getsid(0)
    assert status.java is not None
    assert EmbeddedBroker(home).start() == status, "a second start finds the first"
    with pytest.raises(BrokerError, match="already runs on port"):
        EmbeddedBroker(home, port=1025).start()

    # Only this machine can reach it.
    listening = [it.laddr.ip for it in psutil.Process(status.pid).net_connections("tcp") if it.status == "LISTEN"]
    assert listening
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_after_the_set_up_it_starts_from_the_archive_of_its_classes(home: Path) -> None:
    set_up(print)
    pid = EmbeddedBroker(home, port=0).start().pid
    mapped = {mapping.path for mapping in psutil.Process(pid).memory_maps()}
    assert str(archive_path(find_java())) in mapped


def test_two_that_start_at_once_get_one_broker(home: Path) -> None:
    pids: list[int | None] = []
    starters = [threading.Thread(target=lambda: pids.append(EmbeddedBroker(home, port=0).start().pid)) for _ in "ab"]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join(90)
    assert len(pids) == 2
    assert pids[0] == pids[1] is not None


def test_a_taken_port_is_named_with_who_has_it(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port} is taken by .*process {os.getpid()}.*--port"):
            EmbeddedBroker(home, port=port).start()
    assert not EmbeddedBroker(home).status().running


def test_a_setting_that_kafka_refuses_is_said_and_nothing_is_left_running(home: Path) -> None:
    with pytest.raises(BrokerError, match=r"num\.io\.threads.*logs"):
        EmbeddedBroker(home, port=0, properties={"num.io.threads": "many"}).start()
    assert not EmbeddedBroker(home).status().running


def test_settings_of_ones_own_reach_kafka(home: Path) -> None:
    status = EmbeddedBroker(home, port=0, properties={"auto.create.topics.enable": "true"}).start()
    producer = KafkaProducer(bootstrap_servers=status.bootstrap)
    assert producer.send("made-by-writing", b"x").get(20).offset == 0
    producer.close()


def test_a_full_disk_is_said_before_it_harms(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(home.parent)._replace(free=5 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BrokerError, match=r"only 5 MB are free .*make room"):
        EmbeddedBroker(home, port=0).start()


def test_a_home_that_is_a_file_is_said(home: Path) -> None:
    home.touch()
    with pytest.raises(BrokerError, match=re.escape(str(home)) + ".*MILLSTREAM_HOME"):
        EmbeddedBroker(home, port=0).start()
    home.unlink()


def test_damaged_data_are_said_with_the_place_of_the_log(home: Path) -> None:
    broker = EmbeddedBroker(home, port=0)
    status = broker.start()
    broker.kill()
    assert not takes_requests(int(status.bootstrap.rpartition(":")[2]))
    (home / "data" / "meta.properties").write_text("version=1\nnode.id=77\n")
    with pytest.raises(BrokerError, match=r"logs"):
        broker.start()
    broker.reset()
    assert broker.start().running


@pytest.mark.full
def test_the_second_compiler_is_a_setting_of_every_command_that_starts_it(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLSTREAM_HOME", str(home.parent))
    Path("millstream.toml").write_text('broker_compiler = "c2"\n')
    assert cli.run(("broker", "start", "--port", "0", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["compiler"] == "c2"
    assert "-XX:TieredStopAtLevel=1" not in psutil.Process(told["pid"]).cmdline()
    monkeypatch.setenv("MILLSTREAM_BROKER_COMPILER", "c1")
    assert cli.run(("broker", "start", "--json")) == 0
    said = capsys.readouterr()
    assert (json.loads(said.out)["pid"], json.loads(said.out)["compiler"]) == (told["pid"], "c2")
    assert "runs already, with compiler c2; `millstream broker stop` first" in said.err
    assert cli.run(("broker", "stop")) == 0
    assert cli.run(("broker", "start", "--json")) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["compiler"] == "c1"
    assert cli.run(("broker", "start", "--broker-compiler", "c3")) == USAGE
    assert "c3" in capsys.readouterr().err
