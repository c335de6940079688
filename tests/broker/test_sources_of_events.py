"""A stream on a topic of somebody else's: read as it is, answered in a form for others, and never touched."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from broker.whole_loop import WholeLoop, whole_loop
from raw_kafka import raw_admin, raw_producer
from river import compose, linear_model, preprocessing
from unit.user_files import forgetful

from millstream import Constant, Predictions, Source, Stream
from millstream.cli import app as cli
from millstream.reading import topic_readers
from millstream.status.group_metadata import recalled
from millstream.topics import admin
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.partitioner import hashed
from runtime.kafka_client.records import CommittedOffset, Partition
from runtime.kafka_client.transaction import Transactions
from schemas.event_times import EVENT_TIME, read_event_time
from schemas.topics import DAY_MS, Names

__all__ = ["forgetful"]

FOREIGN_PARTITIONS = 6
CUSTOMERS = 20


def model() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


def selecting() -> Any:
    return compose.Select("amount", "card.new") | model()


def payments(cluster: Cluster, prefix: str) -> str:
    """Make somebody else's topic, set up as none of ours is."""
    topic = f"{prefix}shop.payments"
    config = {"retention.ms": "123456789", "message.timestamp.type": "CreateTime"}
    with raw_admin(cluster) as client:
        client.create_topics({topic: {"num_partitions": FOREIGN_PARTITIONS, "configs": config}})
    return topic


def pay(loop: WholeLoop, topic: str, number: int, body: Mapping[str, Any] | bytes | None = None) -> None:
    """Send a payment as a shop would: nested JSON, keyed by customer, with headers."""
    amount = number % 10
    told = body or {"payment": {"id": f"p{number}", "amount": amount, "card": {"new": amount % 2 == 0}}, "at": "2024"}
    value = told if isinstance(told, bytes) else json.dumps(told).encode()
    key = f"customer-{number % CUSTOMERS}".encode()
    headers = [("traceparent", f"00-{number}".encode()), ("content-type", b"application/json")]
    # A client of another make: it hashes keys in its own way.
    loop.producer.send(topic, value, key, headers=headers, partition=sum(key) % FOREIGN_PARTITIONS)


def prepared(message: Mapping[str, Any]) -> Mapping[str, Any]:
    payment = message["payment"]
    return {"amount": payment["amount"], "per_card": payment["amount"] / payment["cards"]}


def test_nested_messages_keyed_by_customer_are_learned_from_by_their_own_ids(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    topic = payments(Cluster(bootstrap), prefix)
    fields = {"amount": "payment.amount", "card": "payment.card", "channel": Constant("web")}
    source = Source(topic=topic, id=("payment.id", "payment.amount"), fields=fields)
    stream = Stream(name="own", task="binary", model=selecting, features=source)
    with whole_loop(stream, bootstrap, prefix, tmp_path) as loop:
        for number in range(200):
            pay(loop, topic, number)
            loop.label(f"p{number}:{number % 10}", number % 10 > 5)
        loop.wait_until(lambda: loop.learned() == 200, "all learned")
        examples, predictions = loop.examples(), list(loop.records(loop.names.topic("predictions")))
    assert {each.event.event_id for each in examples} == {f"p{number}:{number % 10}" for number in range(200)}
    assert examples[0].event.features.keys() == {"channel", "amount", "card.new"}
    assert {each.event.entity_key for each in examples} == {f"customer-{number}" for number in range(CUSTOMERS)}
    assert {each.outcome.source_topic for each in examples if each.outcome} == {topic}
    named = {tuple(name for name, _ in record.headers) for record in predictions}
    assert named <= {("traceparent",), ("traceparent", EVENT_TIME)}
    told = [read_event_time(record.headers) for record in predictions]
    assert sum(each.events for each in told if each is not None) == len(predictions)


def test_others_read_predictions_by_customer_in_json_while_the_loop_joins_whole_ones(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    cluster = Cluster(bootstrap)
    topic = payments(cluster, prefix)
    source = Source(topic=topic, prepare=prepared, start="end")
    stream = Stream(
        name="own",
        task="binary",
        model=model,
        features=source,
        predictions=Predictions(format="json", features=False, cloudevents="/shop/fraud"),
    )
    producer = raw_producer(cluster)
    for number in range(FOREIGN_PARTITIONS):
        producer.send(topic, b'{"before": 1}', partition=number).get(10)
    producer.close()
    with whole_loop(stream, bootstrap, prefix, tmp_path) as loop:
        mere = Names("own", prefix)
        loop.wait_until(lambda: recalled(cluster, mere) == loop.names, "the groups tell whose topic is read")
        for number in range(100):
            pay(loop, topic, number, {"payment": {"amount": number % 10, "cards": number % 4}})
        loop.wait_until(lambda: len(loop.predictions()) == 100, "all answered")
        whole, theirs = loop.predictions(), list(loop.records(loop.names.topic("predictions")))
        for each in whole:
            loop.label(each.event.event_id, True)
        # Every fourth has no cards: prepare divides by zero, and there is nothing to join.
        loop.wait_until(lambda: loop.learned() == 75, "all learned but those with an error for an answer")
        shown = list(topic_readers.read(cluster, recalled(cluster, mere), "predictions"))
    assert {each.event.event_id.rpartition("-")[0] for each in whole} <= {f"{topic}-{n}" for n in range(6)}
    assert len({each.event.event_id for each in whole}) == 100
    errors = [each for each in whole if each.outcome.error is not None]
    assert {each.outcome.error.code for each in errors if each.outcome.error} == {"prepare"}
    assert "ZeroDivisionError" in str(errors[0].outcome.error)
    assert len(errors) == 25
    assert len(list(topic_readers.read(cluster, loop.names, "dead-letters"))) == 25
    assert [row["event_id"] for row in shown if row["event_id"]] != []
    by_customer = defaultdict(list)
    for record in theirs:
        assert record.partition == hashed(record.key, 2)
        assert b"per_card" not in record.value
        assert dict(record.headers)["ce_source"] == b"/shop/fraud"
        assert dict(record.headers)["ce_id"].decode() == json.loads(record.value)["event_id"]
        by_customer[record.key].append(int(dict(record.headers)["traceparent"].removeprefix(b"00-")))
    assert len(by_customer) == CUSTOMERS
    assert all(numbers == sorted(numbers) for numbers in by_customer.values())


# --- commands ----------------------------------------------------------------------------------------

Run = Callable[..., tuple[int, Any, str]]
FILE = """
from millstream import Labels, Predictions, Source, Stream
from river import linear_model

stream = Stream(
    name="own", task="binary", model=linear_model.LogisticRegression, partitions=2,
    features=Source(topic="{topic}"), labels=Labels(sources=Source(topic="{topic}", id="id", value="label")),
    predictions=Predictions(features=False),
)
"""


@pytest.fixture
def run(
    bootstrap: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command on own.py; returns exit code, what its JSON says, and its errors."""
    (tmp_path / "own.py").write_text(FILE.format(topic=f"{prefix}shop.payments"))
    monkeypatch.chdir(tmp_path)
    for name, value in (("HOME", str(tmp_path)), ("BOOTSTRAP", bootstrap), ("PREFIX", prefix)):
        monkeypatch.setenv(f"MILLSTREAM_{name}", value)

    def call(*words: str) -> tuple[int, Any, str]:
        code = cli.run((*words, "--json"))
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err

    return call


def test_somebody_elses_topic_is_never_made_changed_or_deleted(run: Run, bootstrap: str, prefix: str) -> None:
    cluster = Cluster(bootstrap)
    topic = f"{prefix}shop.payments"
    for _ in range(2):
        code, told, _ = run("topics", "create", "own.py", "--fix")
        assert (code, [each["message"] for each in told["findings"]]) == (1, [f"{topic} does not exist"])
        assert "Millstream does not create it" in told["findings"][0]["fix"]
        assert topic not in cluster.topic_info(topic)
    code, told, said = run("status", "own.py")
    assert f"no topic {topic}: Source(topic=...) names it" in str(told["alerts"]), said
    payments(cluster, prefix)
    before = _as_it_is(cluster, topic)
    code, told, said = run("topics", "create", "own.py", "--fix")
    assert (code, told["findings"], told["elsewhere"]) == (0, [], [topic]), said
    names = Names("own", prefix, {"features": topic}, public=True)
    assert set(cluster.topic_info(names.whole, names.topic("predictions"))) == {names.whole, names.topic("predictions")}
    assert run("publish", "own.py", "river:Phishing")[0] == 2
    assert run("replay", "own.py", "labels", "--into", topic)[0] == 2
    code, told, said = run("topics", "delete", "own.py", "--yes")
    assert (code, topic in told["deleted"]) == (0, False), said
    assert _as_it_is(cluster, topic) == before
    assert not cluster.topic_info(names.whole, names.topic("predictions"))


def _as_it_is(cluster: Cluster, topic: str) -> Any:
    found = admin.describe(cluster, Names("x", "", {"features": topic}), partitions=1, label_wait_ms=DAY_MS)
    return found.topics[0], cluster.topic_info(topic)


def _commit(cluster: Cluster, group: str, notes: Mapping[str, str]) -> None:
    """Commit a place in partition 0 of topics, with a note beside each, as a role's group does."""
    transactions = Transactions(cluster, f"{group}-0")
    transactions.open()
    places = {Partition(topic, 0): CommittedOffset(0, note) for topic, note in notes.items()}
    transactions.commit([], places, GroupMetadata(group))
    transactions.close()


def test_a_mere_name_finds_what_the_groups_read_last(run: Run, bootstrap: str, prefix: str) -> None:
    cluster, mere = Cluster(bootstrap), Names("own", prefix)
    theirs, ours = payments(cluster, prefix), mere.topic("features")
    with raw_admin(cluster) as client:
        client.create_topics({ours: {"num_partitions": 1}})
    assert run("topics", "create", "own.py")[0] == 0
    assert recalled(cluster, mere) == mere
    labels, whole, answers = (mere.topic(kind) for kind in ("labels", "predictions", "answers"))
    _commit(cluster, mere.group("predictor"), {theirs: '{"at": 7}', ours: '{"at": 6}'})
    _commit(cluster, mere.group("joiner"), {labels: "now", whole: "before", answers: "now"})
    assert recalled(cluster, mere) == Names("own", prefix, {"features": theirs}, public=True)
    code, told, said = run("status", "own")
    assert (code, theirs in str(told["alerts"])) == (0, False), said
    _commit(cluster, mere.group("predictor"), {ours: '{"at": 8}', labels: "no JSON"})
    _commit(cluster, mere.group("joiner"), {labels: "later", whole: "later"})
    assert recalled(cluster, mere) == mere


def test_a_joiner_names_a_form_of_predictions_that_was_changed(
    run: Run, bootstrap: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, names = Cluster(bootstrap), Names("own", prefix)
    payments(cluster, prefix)
    code, _, said = run("topics", "create", "own.py")
    assert code == 0, said
    _commit(cluster, names.group("joiner"), {names.topic("labels"): "now", names.topic("predictions"): "now"})
    assert cli.run(("joiner", "own.py")) == 1
    said = capsys.readouterr().out
    assert f"joined from {prefix}own.predictions and are on {prefix}own.answers now" in said
    assert "--new-epoch fresh" in said
