"""A cluster with TLS, passwords, certificates and access control: each role works with its own rights alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import command_server
import pytest
from confluent_kafka import KafkaException, Producer
from kafka.admin import NewTopic
from kafka.errors import TopicAuthorizationFailedError
from raw_kafka import raw_admin, raw_producer
from secure_kafka import SecureKafka, secure_kafka

from consumers.learner.offset_metadata import LearnerMetadata
from millstream.config.kafka_options import client_options
from millstream.config.settings import Settings
from millstream.console.desk import Decision, Desk
from millstream.observability.instrumentation import RoleInstrumentation
from millstream.processes.fork_server import ForkServer, Process
from millstream.status.report import Typed, taken_in
from millstream.status.snapshot import Observer
from millstream.stream.load import load_stream
from millstream.topics import admin
from millstream.topics.acls import principals, rights
from millstream.versions.trace_event import NoSuchEvent
from producers.rows import SourceSpec
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import NoOffsetError
from runtime.kafka_client.libraries import library_named
from runtime.kafka_client.library_names import version_of
from runtime.kafka_client.librdkafka.options import translated
from runtime.kafka_client.records import Partition
from schemas.topics import KINDS, Names
from server.forwarder.forwarder import Forwarder, ForwarderSettings
from server.spool.entries import SpooledRecord
from server.spool.spool import Made, Pending, Spool
from server.uploads.folder import Meta, UploadFolder
from server.uploads.importer import Importer, ImporterSettings

NAMES = Names("phishing", labels_from=("chargebacks",))
# A stream for the tests of each client, so that they do not meet.
PREFIXES = {"kafka-python": "", "librdkafka": "rd-"}
EVENTS = 150
_SECONDS = 120
SOON = {"MILLSTREAM_KAFKA_BOOTSTRAP_TIMEOUT_MS": "2000"}  # of 15 s, where it is known that nobody gets in


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with secure_kafka(tmp_path_factory.mktemp("secure")) as kafka:
        kafka.add(*principals())
        with raw_admin(Cluster(kafka.plain)) as client:
            client.create_topics([NewTopic("chargebacks", 1, 1)])
        with closing(raw_producer(Cluster(kafka.plain))) as producer:
            producer.send("chargebacks", b'{"ref": "e1"}').get(20)
            producer.send("chargebacks", b"no JSON").get(20)
        for prefix in PREFIXES.values():
            of = Names("phishing", prefix, labels_from=("chargebacks",))
            admin.create(Cluster(kafka.plain), of, partitions=2, label_wait_ms=600_000)
            for role in principals():
                kafka.grant(role, rights(of, role))
        yield kafka


@pytest.fixture
def names(client: str, monkeypatch: pytest.MonkeyPatch) -> Names:
    """Return the names of the client's stream, which commands have too."""
    monkeypatch.setenv("MILLSTREAM_PREFIX", PREFIXES[client])
    return Names("phishing", PREFIXES[client], labels_from=("chargebacks",))


def environment(kafka: SecureKafka, role: str, home: Path, options: dict[str, str] | None = None) -> dict[str, str]:
    options = options or kafka.by_password(role)
    return {
        **os.environ,
        "MILLSTREAM_HOME": str(home),
        "MILLSTREAM_BOOTSTRAP": kafka.mutual if options["security_protocol"] == "SSL" else kafka.scram,
        **{f"MILLSTREAM_KAFKA_{name.upper()}": value for name, value in options.items()},
    }


def millstream(environ: dict[str, str], *words: str, code: int = 0) -> str:
    done = command_server.run(*words, env=environ)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture
def roles(kafka: SecureKafka, names: Names, fork_server: ForkServer, tmp_path: Path) -> Iterator[dict[str, Process]]:
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
@pytest.mark.both_clients
def test_the_whole_loop_works_with_each_roles_own_rights(
    kafka: SecureKafka, client: str, names: Names, roles: dict[str, Process], tmp_path: Path
) -> None:
    publisher = environment(kafka, "publisher", tmp_path / "home")
    millstream(publisher, "publish", "phishing", "river:Phishing", "--limit", str(EVENTS))
    operator = environment(kafka, "operator", tmp_path / "home", kafka.by_certificate("operator"))
    with Observer(Cluster(kafka.plain), names) as observer:
        deadline = time.monotonic() + _SECONDS
        while [each.learned for each in observer.look().beside(LearnerMetadata)] != [EVENTS]:
            assert time.monotonic() < deadline
            assert {role: process.poll() for role, process in roles.items()} == dict.fromkeys(roles)
            time.sleep(0.1)
    status = json.loads(millstream(operator, "status", "phishing", "--json"))
    assert status["stages"]["learner"]["done"] == EVENTS
    assert status["stages"]["predictor"]["done"] >= EVENTS
    used = {name: told for stage in status["stages"].values() for name, told in stage["clients"].items()}
    assert {name.partition("-")[0]: told for name, told in used.items()} == dict.fromkeys(
        roles, f"{client} {version_of(client)}"
    )
    millstream(operator, "models", "pin", "phishing", "1/0", "--why", "may an operator?")
    assert {role: process.poll() for role, process in roles.items()} == dict.fromkeys(roles)


LABELS_OF_OTHERS = """
from river import linear_model
from millstream import Labels, Source, Stream

labels = Source(topic="chargebacks", id="ref", value="True")
stream = Stream(name="phishing", task="binary", model=linear_model.LogisticRegression, labels=Labels(sources=labels))
"""


@pytest.mark.both_clients
def test_an_intake_works_with_its_own_rights(kafka: SecureKafka, names: Names, tmp_path: Path) -> None:
    file = tmp_path / "with_chargebacks.py"
    file.write_text(LABELS_OF_OTHERS)
    words = [sys.executable, "-m", "millstream", "intake", str(file)]
    process = subprocess.Popen(words, env=environment(kafka, "intake", tmp_path / "home"))
    deadline = time.monotonic() + _SECONDS
    try:
        with Observer(Cluster(kafka.scram, kafka.by_password("operator")), names) as observer:
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


def test_a_console_needs_no_more_than_its_rights(kafka: SecureKafka, tmp_path: Path) -> None:
    millstream({**os.environ, "MILLSTREAM_HOME": str(tmp_path)}, "keys", "init")
    settings = Settings(tmp_path, kafka.scram, kafka=kafka.by_password("console"))
    desk = Desk(Typed("phishing", "phishing"), load_stream("phishing"), settings, "own", print)
    assert desk.status()["stages"].keys() == {"predictor", "joiner", "learner"}
    assert (desk.models(), desk.page("alerts", 5, None).keys()) == ([], {"alerts", "before", "open"})
    assert desk.page("dead-letters", 5, 0) == {"dead_letters": [], "before": None}
    with pytest.raises(NoSuchEvent):
        desk.event("nobody")
    for deed in ("pause", "resume", "unpin"):
        assert desk.decide(Decision(deed, None, None, "ann", "may a console?"))["by"] == "ann"


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
def by_token(kafka: SecureKafka, names: Names, tmp_path: Path) -> dict[str, str]:
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


WAYS = {
    "PLAIN": lambda kafka: (kafka.scram, kafka.by_plain_password()),
    "SCRAM": lambda kafka: (kafka.scram, kafka.by_password("predictor")),
    "certificate": lambda kafka: (kafka.mutual, kafka.by_certificate("predictor")),
    "token": lambda kafka: (kafka.token, kafka.by_token("tokens_of_tests:Tokens")),
}


@pytest.fixture
def ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process have the tokens of the predictor."""
    (tmp_path / "tokens_of_tests.py").write_text(TOKENS)
    monkeypatch.delitem(sys.modules, "tokens_of_tests", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TOKEN_FOR", "predictor")


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("way", WAYS)
def test_translated_options_let_librdkafka_in(kafka: SecureKafka, way: str) -> None:
    address, options = WAYS[way](kafka)
    producer = Producer({"bootstrap.servers": address, **translated(client_options(options, "librdkafka"), "producer")})
    topic = NAMES.topic("predictions")
    found = producer.list_topics(topic, timeout=20).topics[topic]
    # The broker knows who it is: of a stranger it would hide the topic.
    assert (found.error, set(found.partitions)) == (None, {0, 1})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"sasl_plain_password": "wrong"}, "SASL"),
        ({"ssl_cafile": ""}, "certificate"),
    ],
)
def test_translated_options_keep_librdkafka_out_of_what_it_may_not_trust(
    kafka: SecureKafka, change: dict[str, str], reason: str
) -> None:
    options = {name: value for name, value in {**kafka.by_password("predictor"), **change}.items() if value}
    said: list[str] = []
    settings = {"bootstrap.servers": kafka.scram, "error_cb": lambda error: said.append(error.str()), "log_level": 0}
    producer = Producer({**settings, **translated(client_options(options, "librdkafka"), "producer")})
    with pytest.raises(KafkaException):
        producer.list_topics(timeout=2)
    producer.poll(0)
    assert any(reason in each for each in said), said
    assert not any("wrong" in each for each in said)


@pytest.mark.parametrize("checked", [True, False])
def test_the_name_in_a_certificate_is_checked_unless_it_is_told_not_to(kafka: SecureKafka, checked: bool) -> None:
    """127.1 is the same address, under a name that the certificate does not have."""
    given = {**kafka.by_certificate("predictor"), "ssl_check_hostname": str(checked)}
    address = kafka.mutual.replace("127.0.0.1", "127.1")
    said: list[str] = []
    settings = {"bootstrap.servers": address, "error_cb": lambda error: said.append(error.str()), "log_level": 0}
    producer = Producer({**settings, **translated(client_options(given, "librdkafka"), "producer")})
    if not checked:
        assert producer.list_topics(timeout=20).topics
        return
    with pytest.raises(KafkaException):
        producer.list_topics(timeout=2)
    producer.poll(0)
    assert any("certificate" in each for each in said), said


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.both_clients
def test_each_way_in_reads_writes_and_joins(kafka: SecureKafka, client: str, names: Names, way: str) -> None:
    address, options = WAYS[way](kafka)
    cluster = Cluster(address, client_options(options, client), library_named(client))
    instance = names.process("predictor", f"way-{way.lower()}")
    with closing(cluster.producer(transactional_id=instance)) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        producer.send(names.topic("predictions"), b"of nobody", partition=0)
        producer.flush(20)
        producer.abort_transaction()
    with closing(cluster.consumer()) as reader:
        assert reader.partitions_for_topic(names.topic("features")) == {0, 1}
        assert reader.end_offsets([Partition(names.topic("predictions"), 0)])
    group = names.group("predictor")
    with closing(cluster.consumer(group_id=group, group_instance_id=instance)) as member, cluster.admin() as admin:
        member.subscribe([names.topic("features")], lambda: None)
        assert member.wait_for_partitions({names.topic("features"): 2}, _SECONDS)
        deadline = time.monotonic() + _SECONDS
        while not member.group_metadata().stable or not member.assignment():
            with contextlib.suppress(NoOffsetError):  # it has its partitions then
                member.poll(100)
            assert time.monotonic() < deadline
        told = {each.instance_id: each.client for each in admin.describe_group(group).members}
        assert told[instance] == f"{client} {version_of(client)}"
        admin.remove_group_members(group, [instance])


def test_no_role_writes_both_labels_and_model_updates() -> None:
    for role in principals():
        writes = {right.name for right in rights(NAMES, role) if right.operation == "Write"}
        assert not {NAMES.topic("labels"), NAMES.topic("models")} <= writes, role


@pytest.mark.both_clients
def test_a_missing_right_is_named_with_what_to_ask_for(kafka: SecureKafka, names: Names, tmp_path: Path) -> None:
    kafka.add("nobody")
    said = millstream(environment(kafka, "nobody", tmp_path), "learner", "phishing", code=1)
    assert len(said.splitlines()) == 1, said
    assert f" {names.prefix}phishing." in said
    assert "millstream topics acls" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sasl_plain_password": "wrong"}, "look at user, password and sasl_mechanism"),
        ({"ssl_cafile": ""}, "its certificate is not accepted"),
        ({"security_protocol": "PLAINTEXT", "sasl_mechanism": ""}, "it speaks TLS: set security_protocol"),
    ],
)
@pytest.mark.both_clients
def test_a_cluster_that_lets_nobody_in_is_said_in_a_line(
    kafka: SecureKafka, names: Names, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    options = {**kafka.by_password("operator"), **change}
    options = {name: value for name, value in options.items() if value}
    told = millstream({**environment(kafka, "operator", tmp_path, options), **SOON}, "status", "phishing", code=1)
    assert len(told.splitlines()) == 1, told
    assert said in told
    assert "wrong" not in told


def test_an_importer_of_uploads_needs_no_more_than_its_rights(kafka: SecureKafka, tmp_path: Path) -> None:
    cluster = Cluster(kafka.scram, client_options(kafka.by_password("importer")))
    settings = ImporterSettings(
        names=NAMES,
        instance="0",
        spec=SourceSpec(),
        weigh=None,
        uploads=tmp_path,
        expire_s=60,
        largest_unpacked=1000,
    )
    folder = UploadFolder(tmp_path)
    for before, taken in ((0, 1), (1, 0)):
        upload = folder.create(Meta())
        with folder.writing(upload) as descriptor:
            os.write(descriptor, b"x,label\n1,true\n2,\n")
            folder.complete(upload, descriptor)
        with closing(Importer(cluster, settings, threading.Event(), print, RoleInstrumentation())) as importer:
            assert importer.open() == before
            assert importer.turn()
        found = folder.result(upload.id)
        assert found is not None
        assert (found.taken, found.refused) == (taken, 1)
