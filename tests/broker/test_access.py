"""A cluster with TLS, passwords, certificates and access control: each role works with its own rights alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import NewTopic
from kafka.errors import TopicAuthorizationFailedError
from raw_kafka import raw_admin, raw_producer
from secure_kafka import SecureKafka, secure_kafka

from consumers.learner.offset_metadata import LearnerMetadata
from millstream.config.kafka_options import client_options
from millstream.processes.fork_server import ForkServer, Process
from millstream.status.report import taken_in
from millstream.status.snapshot import Observer
from millstream.topics import admin
from millstream.topics.acls import principals, rights
from runtime.kafka_client.cluster import Cluster
from schemas.topics import KINDS, Names
from server.forwarder.forwarder import Forwarder, ForwarderSettings
from server.spool.entries import SpooledRecord
from server.spool.spool import Made, Pending, Spool

NAMES = Names("phishing", labels_from=("chargebacks",))
EVENTS = 150
_SECONDS = 120
SOON = {"MILLSTREAM_KAFKA_BOOTSTRAP_TIMEOUT_MS": "2000"}  # of 15 s, where it is known that nobody gets in


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as kafka:
        admin.create(Cluster(kafka.plain), NAMES, partitions=2, label_wait_ms=600_000)
        kafka.add(*principals())
        for role in principals():
            kafka.grant(role, rights(NAMES, role))
        yield kafka


def environment(kafka: SecureKafka, role: str, home: Path, options: dict[str, str] | None = None) -> dict[str, str]:
    options = options or kafka.by_password(role)
    return {
        **os.environ,
        "MILLSTREAM_HOME": str(home),
        "MILLSTREAM_BOOTSTRAP": kafka.mutual if options["security_protocol"] == "SSL" else kafka.scram,
        **{f"MILLSTREAM_KAFKA_{name.upper()}": value for name, value in options.items()},
    }


def millstream(environ: dict[str, str], *words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "millstream", *words],
        env=environ,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture
def roles(kafka: SecureKafka, fork_server: ForkServer, tmp_path: Path) -> Iterator[dict[str, Process]]:
    """Run each role as its own user."""
    with ExitStack() as held:
        running: dict[str, Process] = {}
        for role in ("learner", "predictor", "joiner"):
            log = held.enter_context((tmp_path / f"{role}.log").open("w"))
            environ = environment(kafka, role, tmp_path / "home")
            running[role] = fork_server.fork([role, "phishing"], environ, log.fileno())
            held.callback(end, running[role])
        yield running
    for role in running:
        print(role, (tmp_path / f"{role}.log").read_text()[-3000:])


def end(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="roles are forked on Linux alone")
def test_the_whole_loop_works_with_each_roles_own_rights(
    kafka: SecureKafka, roles: dict[str, Process], tmp_path: Path
) -> None:
    publisher = environment(kafka, "publisher", tmp_path / "home")
    millstream(publisher, "publish", "phishing", "river:Phishing", "--limit", str(EVENTS))
    operator = environment(kafka, "operator", tmp_path / "home", kafka.by_certificate("operator"))
    with Observer(Cluster(kafka.plain), NAMES) as observer:
        deadline = time.monotonic() + _SECONDS
        while [each.learned for each in observer.look().beside(LearnerMetadata)] != [EVENTS]:
            assert time.monotonic() < deadline
            assert {role: process.poll() for role, process in roles.items()} == dict.fromkeys(roles)
            time.sleep(0.1)
    status = json.loads(millstream(operator, "status", "phishing", "--json"))
    assert status["stages"]["learner"]["done"] == EVENTS
    assert status["stages"]["predictor"]["done"] >= EVENTS
    millstream(operator, "models", "pin", "phishing", "1/0", "--why", "may an operator?")
    assert {role: process.poll() for role, process in roles.items()} == dict.fromkeys(roles)


LABELS_OF_OTHERS = """
from river import linear_model
from millstream import Labels, Source, Stream

labels = Source(topic="chargebacks", id="ref", value="True")
stream = Stream(name="phishing", task="binary", model=linear_model.LogisticRegression, labels=Labels(sources=labels))
"""


def test_an_intake_works_with_its_own_rights(kafka: SecureKafka, tmp_path: Path) -> None:
    file = tmp_path / "with_chargebacks.py"
    file.write_text(LABELS_OF_OTHERS)
    with raw_admin(Cluster(kafka.plain)) as client:
        client.create_topics([NewTopic("chargebacks", 1, 1)])
    with closing(raw_producer(Cluster(kafka.plain))) as producer:
        producer.send("chargebacks", b'{"ref": "e1"}').get(20)
        producer.send("chargebacks", b"no JSON").get(20)
    words = [sys.executable, "-m", "millstream", "intake", str(file)]
    process = subprocess.Popen(words, env=environment(kafka, "intake", tmp_path / "home"))
    deadline = time.monotonic() + _SECONDS
    try:
        with Observer(Cluster(kafka.scram, kafka.by_password("operator")), NAMES) as observer:
            while (now := observer.look()).lag("intake"):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
    finally:
        end(process)
    assert process.returncode == 0
    assert taken_in(now) == {"chargebacks": {"mapped": 1, "skipped": 0, "refused": 1, "lag": 0}}


def write(kafka: SecureKafka, role: str, kind: str) -> bool:
    """Tell whether a role may write a topic. What it writes there is nothing that anyone can read."""
    cluster = Cluster(kafka.scram, kafka.by_password(role))
    with closing(raw_producer(cluster, enable_idempotence=False)) as producer:
        try:
            producer.send(NAMES.topic(kind), key=b"nobody", value=b"", partition=0).get(20)
        except TopicAuthorizationFailedError:
            return False
    return True


@pytest.mark.parametrize("role", principals())
def test_a_role_is_refused_beyond_its_own(kafka: SecureKafka, role: str) -> None:
    may = {right.name for right in rights(NAMES, role) if right.operation == "Write" and right.resource == "topic"}
    assert {NAMES.topic(kind) for kind in KINDS if write(kafka, role, kind)} == may


def test_a_forwarder_needs_no_more_than_its_rights(kafka: SecureKafka, tmp_path: Path) -> None:
    with closing(Spool(tmp_path)) as spool:
        records = tuple(SpooledRecord(kind, 0, b"key", b"value") for kind in ("whole", "labels", "dead-letters"))
        spool.write([Pending(lambda number: Made(records, b""))])
    cluster = Cluster(kafka.scram, client_options(kafka.by_password("forwarder")))
    for before in (0, 1):
        forwarder = Forwarder(cluster, ForwarderSettings(NAMES, "0", tmp_path))
        with closing(forwarder):
            assert forwarder.open() == before
            forwarder.stop.set()
            forwarder.run()


TOKENS = """
import base64, json, os, time

def _part(claims):
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")

class Tokens:
    def token(self):
        if os.environ["TOKEN_FOR"] == "nobody at all":
            raise ConnectionError("the issuer is away")
        now = int(time.time()) + int(os.environ.get("TOKEN_AGE", "0"))
        return f"{_part({'alg': 'none'})}.{_part({'sub': os.environ['TOKEN_FOR'], 'iat': now, 'exp': now + 60})}."
"""


@pytest.fixture
def by_token(kafka: SecureKafka, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a process whose provider stands in a module of its own."""
    (tmp_path / "tokens_of_tests.py").write_text(TOKENS)
    environ = environment(kafka, "operator", tmp_path / "home", kafka.by_token("tokens_of_tests:Tokens"))
    return {
        **environ,
        "MILLSTREAM_BOOTSTRAP": kafka.token,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        "TOKEN_FOR": "operator",
    }


def test_a_token_says_who_one_is(by_token: dict[str, str]) -> None:
    said = json.loads(millstream(by_token, "status", "phishing", "--json"))
    assert set(said["stages"]) >= {"predictor", "joiner", "learner"}
    # Of another user the broker hides the topics: the rights are those of the token.
    told = millstream({**by_token, "TOKEN_FOR": "stranger"}, "status", "phishing", code=1)
    assert "Kafka does not let this user Describe" in told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"TOKEN_FOR": "nobody at all"}, "tokens_of_tests:Tokens raised ConnectionError: the issuer is away"),
        ({"TOKEN_AGE": "-3600"}, "look at the token that sasl_oauth_token_provider gives"),
    ],
)
def test_a_token_that_is_none_is_said_in_a_line(by_token: dict[str, str], change: dict[str, str], said: str) -> None:
    told = millstream({**by_token, **change, **SOON}, "status", "phishing", code=1)
    assert len(told.splitlines()) == 1, told
    assert said in told


def test_no_role_writes_both_labels_and_model_updates() -> None:
    for role in principals():
        writes = {right.name for right in rights(NAMES, role) if right.operation == "Write"}
        assert not {NAMES.topic("labels"), NAMES.topic("models")} <= writes, role


def test_a_missing_right_is_named_with_what_to_ask_for(kafka: SecureKafka, tmp_path: Path) -> None:
    kafka.add("nobody")
    said = millstream(environment(kafka, "nobody", tmp_path), "learner", "phishing", code=1)
    assert len(said.splitlines()) == 1, said
    assert "phishing." in said
    assert "millstream topics acls" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sasl_plain_password": "wrong"}, "look at user, password and sasl_mechanism"),
        ({"ssl_cafile": ""}, "its certificate is not accepted"),
        ({"security_protocol": "PLAINTEXT", "sasl_mechanism": ""}, "it speaks TLS: set security_protocol"),
    ],
)
def test_a_cluster_that_lets_nobody_in_is_said_in_a_line(
    kafka: SecureKafka, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    options = {**kafka.by_password("operator"), **change}
    options = {name: value for name, value in options.items() if value}
    told = millstream({**environment(kafka, "operator", tmp_path, options), **SOON}, "status", "phishing", code=1)
    assert len(told.splitlines()) == 1, told
    assert said in told
    assert "wrong" not in told
