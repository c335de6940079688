"""What a stream would make of the events on somebody else's topic, looked at before anything of its own is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from loop_helpers import put, warmed
from raw_kafka import raw_admin

from millstream.cli.app import run
from runtime.kafka_client.cluster import Cluster

_FILE = """
from millstream import Source, Stream
from river import linear_model

stream = Stream(
    name="fraud", task="binary", model=linear_model.LogisticRegression,
    features=Source(topic="TOPIC", id="payment.id", fields={"amount": "payment.amount"}, contract={"amount": "number"}),
)
"""


@pytest.fixture
def cluster(bootstrap: str, prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    for name, value in (("HOME", str(tmp_path / "home")), ("BOOTSTRAP", bootstrap), ("PREFIX", prefix)):
        monkeypatch.setenv(f"MILLSTREAM_{name}", value)
    monkeypatch.chdir(tmp_path)
    return warmed(bootstrap)


def payments(cluster: Cluster, topic: str) -> None:
    """Write seven payments over two partitions, one of them no JSON, and one without an amount that is a number."""
    with raw_admin(cluster) as admin:
        admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    rows: list[Any] = [{"payment": {"id": number, "amount": number / 2}} for number in range(5)]
    rows.append({"payment": {"id": 5, "amount": "much"}})
    put(cluster, topic, [*(json.dumps(row).encode() for row in rows), b"\xff no JSON"], partitions=2)


def test_events_are_shown_as_sent_and_as_mapped_with_errors_in_their_place(
    cluster: Cluster, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic = prefix + "payments"
    payments(cluster, topic)
    (tmp_path / "payments_seen.py").write_text(_FILE.replace("TOPIC", topic))
    assert run(["preview", "payments_seen.py", "--json"]) == 0
    rows = sorted(map(json.loads, capsys.readouterr().out.splitlines()), key=lambda row: row["event_id"] or "~")
    assert [row["event_id"] for row in rows] == ["0", "1", "2", "3", "4", "5", None]
    assert [row["features"] for row in rows] == [{"amount": number / 2} for number in range(5)] + [None, None]
    assert rows[1]["message"] == json.loads(rows[1]["raw"]) == {"payment": {"id": 1, "amount": 0.5}}
    assert [row["error"] and row["error"]["code"] for row in rows] == [None] * 5 + ["type", "codec"]
    assert {row["version"] for row in rows} == {None}
    assert run(["preview", "payments_seen.py", "--count", "7", "--newest"]) == 0
    table = capsys.readouterr().out
    assert "codec: not JSON" in table
    assert "no version serves yet: the events are mapped only" in table
    with raw_admin(cluster) as admin:
        assert not [name for name in admin.list_topics() if name.startswith(f"{prefix}fraud")], "nothing was made"
        assert not [group for group in admin.list_groups() if prefix in str(group)], "no group was joined"


def test_a_topic_of_others_that_is_not_there_is_named(
    cluster: Cluster, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nowhere_seen.py").write_text(_FILE.replace("TOPIC", prefix + "nowhere"))
    assert run(["preview", "nowhere_seen.py"]) == 1
    said = capsys.readouterr().err
    assert f"there is no topic {prefix}nowhere: Source(topic=...) names it" in said
    assert run(["preview", "nowhere_seen.py", "--count", "0"]) == 2


def test_init_looks_at_live_topics_and_preview_reads_what_it_wrote(
    cluster: Cluster, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    topic, labels, others = (prefix + each for each in ("payments", "chargebacks", "reviews"))
    payments(cluster, topic)
    with raw_admin(cluster) as admin:
        one = {"num_partitions": 1, "replication_factor": 1}
        admin.create_topics({labels: one, others: one}, wait_for_metadata=True)
    put(cluster, labels, [json.dumps({"ref": f"{n}", "fraud": n % 2 == 0}).encode() for n in range(4)])
    words = ["init", "live-payments", "--from-topic", topic, "--labels-from-topic", labels]
    assert run(words) == 0
    said = capsys.readouterr().out
    assert f"1 messages of {topic} could not be read: not JSON" in said
    assert "then: millstream preview live_payments.py" in said
    assert "check this" not in said
    put(cluster, others, [json.dumps({"ref": f"o{n}", "fraud": n % 2 == 0}).encode() for n in range(4)])
    assert run(["init", "strangers", "--from-topic", topic, "--labels-from-topic", others]) == 0
    assert "check this: none of the newest 4 labels" in capsys.readouterr().out
    text = (tmp_path / "live_payments.py").read_text()
    assert 'id="payment.id"' in text
    assert 'value="fraud"' in text
    assert "4 of the newest 4 labels are of events" in text
    assert run(["preview", "live_payments.py", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(row["event_id"] for row in rows if not row["error"]) == ["0", "1", "2", "3", "4"]
    assert {row["error"]["code"] for row in rows if row["error"]} == {"type", "codec"}
    assert run(["init", "other", "--from-topic", prefix + "nowhere"]) == 1
    assert f"there is no topic {prefix}nowhere on" in capsys.readouterr().err
    with raw_admin(cluster) as admin:
        assert not [group for group in admin.list_groups() if prefix in str(group)], "no group was joined"
