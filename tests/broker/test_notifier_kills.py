"""The notifier as a process on a real Kafka, killed with -9 between a delivery and its commit; and the commands."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_kafka import raw_producer
from receiver import Receiver, answering, receiving
from standardwebhooks.webhooks import Webhook as Verifier

from consumers.notifier.offset_metadata import NotifierMetadata
from millstream.cli import app as cli
from millstream.config.settings import interpreter
from runtime.failpoints import VARIABLE
from runtime.kafka_client.cluster import Cluster
from schemas.alerts import Alert
from schemas.topics import Names

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of this test
STREAM = """
from river import linear_model
from millstream import Notify, Rule, Stream, Webhook

stream = Stream(
    name="s", task="binary", model=lambda: linear_model.LogisticRegression(),
    alerts=[Rule("drift", do=[Notify("ops")])],
    notify=[Webhook("ops", url={url!r}, secret_env="OPS_SECRET")],
)
"""
DELIVERED = "notifier.delivered"
REST = ("transaction.offsets.before", "transaction.commit.before", "transaction.commit.after")


@pytest.fixture
def names(prefix: str) -> Names:
    return Names("s", prefix, notifies=True)


@pytest.fixture
def secret(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "OPS_SECRET": SECRET}


def write(home: Path, receiver: Receiver) -> Path:
    path = home / "s.py"
    path.write_text(STREAM.format(url=receiver.url))
    return path


def metadata(cluster: Cluster, names: Names) -> NotifierMetadata | None:
    with cluster.admin() as admin:
        places = admin.list_group_offsets(names.group("notifier"))
    for place in places.values():
        return NotifierMetadata.decode(place.metadata)
    return None


def delivered(cluster: Cluster, names: Names) -> int:
    told = metadata(cluster, names)
    return 0 if told is None or "ops" not in told.targets else told.targets["ops"].delivered


def started(file: Path, environment: dict[str, str], failpoint: str | None = None) -> subprocess.Popen[str]:
    more = {} if failpoint is None else {VARIABLE: failpoint}
    command = [*interpreter(), "notifier", str(file), "--instance", "0"]
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    process = subprocess.Popen(command, env={**environment, **more}, stdout=pipe, stderr=out, text=True)
    assert process.stdout is not None
    assert any("ready: 1 partitions" in line for line in process.stdout), process.poll()
    return process


def ended(process: subprocess.Popen[str]) -> str:
    process.terminate()
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said
    return said


def send(cluster: Cluster, names: Names, *alerts: str) -> None:
    producer = raw_producer(cluster)
    for number, name in enumerate(alerts):
        alert = Alert(name, "warning", "raised", name, number, {"notify": "ops"})
        producer.send(names.topic("alerts"), alert.encode(), name.encode(), partition=0)
    producer.flush(20)
    producer.close()


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("place", [DELIVERED, *(pytest.param(each, marks=pytest.mark.full) for each in REST)])
def test_a_killed_notifier_delivers_again_with_the_same_id_and_loses_nothing(
    place: str, home: Path, run: Callable[..., Any], secret: dict[str, str], cluster: Cluster, names: Names
) -> None:
    with receiving() as receiver:
        file = write(home, receiver)
        code, _, errors = run("topics", "create", str(file))
        assert code == 0, errors
        first = started(file, secret)
        wait(lambda: metadata(cluster, names) is not None)
        ended(first)
        process = started(file, secret, f"{place}=kill@2")
        send(cluster, names, "monitor.a", "monitor.b")
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        last = started(file, secret)
        send(cluster, names, "monitor.c")
        wait(lambda: {each.json["data"]["name"] for each in receiver.requests} >= {"monitor.c"})
        wait(lambda: delivered(cluster, names) >= 2)
        said = ended(last)
    ids: dict[str, str] = {}
    for request in receiver.requests:
        Verifier(SECRET).verify(request.body, dict(request.headers))
        name = request.json["data"]["name"]
        assert ids.setdefault(request.headers["webhook-id"], name) == name
    assert [*ids.values()] == ["monitor.a", "monitor.b", "monitor.c"]
    if place == DELIVERED:
        assert len(receiver.requests) > 3
    assert SECRET not in said
    assert "/hook" not in said


def open_alerts(file: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert cli.run(("alerts", str(file), "--open", "--json")) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_silence_by_command_holds_back_and_its_end_delivers(
    home: Path,
    run: Callable[..., Any],
    secret: dict[str, str],
    cluster: Cluster,
    names: Names,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with receiving() as receiver:
        file = write(home, receiver)
        assert run("topics", "create", str(file))[0] == 0
        process = started(file, secret)
        wait(lambda: metadata(cluster, names) is not None)
        code, note, _ = run("alerts", "silence", str(file), "monitor.a", "--for", "2h", "--why", "a test")
        assert (code, note["decision"], note["until"] - note["at"]) == (0, "silence", 7_200_000)
        send(cluster, names, "monitor.a", "monitor.b")
        wait(lambda: len(receiver.requests) == 1)
        wait(lambda: bool((told := metadata(cluster, names)) and told.withheld))
        silenced, raised = open_alerts(file, capsys)
        assert (silenced["name"], silenced["silence"]["why"]) == ("monitor.a", "a test")
        assert (raised["name"], raised["silence"]) == ("monitor.b", None)
        assert run("alerts", "ack", str(file), "monitor.b", "--why", "seen")[0] == 0
        assert run("alerts", "unsilence", str(file), "monitor.a")[0] == 0
        wait(lambda: len(receiver.requests) == 2)
        wait(lambda: delivered(cluster, names) == 2)
        [target] = run("status", str(file))[1]["targets"]
        assert target == {"name": "ops", "delivered": 2, "lost": 0, "accepted": 2, "failed": 0, "failing_ms": None}
        ended(process)
        assert cli.run(("alerts", str(file))) == 0
        said = capsys.readouterr().out
    assert "acknowledged by" in said
    assert all(f" {each} " in said for each in ("raised", "silence", "ack", "unsilence"))
    assert [each.json["data"]["name"] for each in receiver.requests] == ["monitor.b", "monitor.a"]


def test_commands_about_alerts_say_what_is_wrong(
    home: Path, run: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with receiving(answering(503)) as receiver:
        file = write(home, receiver)
        assert run("topics", "create", str(file))[0] == 0
        wrong = [
            (("ack", str(file), "monitor.a"), 1, "no alert monitor.a is raised; none is raised"),
            (("unsilence", str(file), "monitor.a"), 1, "monitor.a is not silenced; none is silenced"),
            (("silence", str(file), "monitor.a", "--for", "soon"), 2, "'soon' is not a duration"),
            (("silence", str(file), "monitor.a", "--for", "0s"), 2, "a silence has an end: at most 366d"),
            (("silence", str(file), "a b", "--for", "1h"), 2, "'a b' is no alert's name"),
            (("silence", str(file), "monitor.a"), 2, "--for"),
            (("test", str(file), "nobody"), 2, "s.py has no target 'nobody'; there are ops"),
            (("test", "phishing"), 2, "has no target: notify="),
        ]
        for command, code, words in wrong:
            found, _, errors = run("alerts", *command)
            assert (found, words in errors) == (code, True), (command, errors)
        assert cli.run(("alerts", str(file))) == 0
        assert capsys.readouterr().out.splitlines()[0] == "no alert is raised"
        code, tried, _ = run("alerts", "test", str(file))
        assert (code, tried["delivered"], receiver.requests) == (1, False, [])
        assert tried["why"] == "the environment variable OPS_SECRET is not set"
