"""Windows and alerts of a restored stream: nothing of them is lost, and nothing happens or is told twice."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from broker.test_monitor_kills import MINUTE, end, lag, monitor, until
from broker.test_notifier_kills import metadata, started
from commands import Run
from raw_kafka import raw_producer
from receiver import receiving
from simulation.notifier_world import told
from simulation.watching import example, prediction
from window_oracle import Places, written

from consumers.loop.alert_states import AlertStates
from consumers.monitor.offset_metadata import MonitorMetadata
from consumers.monitor.rules.state import RulesState
from millstream.reading import topic_readers
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition
from schemas.alerts import Alert, read_alert_record
from schemas.events import Features
from schemas.profiles import Window
from schemas.topics import PROFILES, Names

STREAM = """
from river import linear_model
from millstream import Labels, Notify, Rule, Stream, Watch, Webhook

ops = [Notify("ops")]
stream = Stream(
    name="s", task="binary", model=lambda: linear_model.LogisticRegression(), labels=Labels(wait="1s"), partitions=2,
    watch=Watch(reference="2h", window="1m", window_events=40),
    alerts=[
        Rule("missing(x) > 50%", over="2m", least=20, do=ops),
        Rule("missing(x) > 60%", over="2m", least=20, name="held", do=ops),
    ],
    notify=[Webhook("ops", url={url!r})],
)
"""
MISSING, HELD = "monitor.missing-x", "monitor.held"


@pytest.fixture
def names(prefix: str) -> Names:
    return Names("s", prefix, notifies=True)


def publish(cluster: Cluster, names: Names, numbers: range, since: int, absent: range) -> None:
    """Send a prediction each second from a time on, and an example for each second one; x is missing in a range."""
    with closing(raw_producer(cluster)) as producer:
        for number in numbers:
            time_ms = since + 1000 * (number - numbers.start)
            features: Features = {"c": "DE"} if number in absent else {"x": number % 7 / 2, "c": "DE"}
            value = prediction(number, time_ms, features)
            producer.send(names.topic("predictions"), value, partition=number % 2, timestamp_ms=time_ms)
            if number % 2:
                encoded = example(number, time_ms).encode()
                producer.send(names.topic("examples"), encoded, partition=0, timestamp_ms=time_ms)
        producer.flush(20)


def with_given_times(cluster: Cluster, names: Names) -> None:
    with cluster.admin() as admin:
        for kind in ("predictions", "examples"):
            admin.alter_topic_config(names.topic(kind), "message.timestamp.type", "CreateTime")


def states(cluster: Cluster, names: Names) -> AlertStates:
    found = AlertStates()
    topic = names.topic("alerts")
    with closing(cluster.consumer()) as consumer:
        end_at = topic_readers.end(consumer, topic)
        for record in topic_readers.between(consumer, Partition(topic, 0), 0, end_at):
            found.take(record.offset, read_alert_record(record.value or b""))
    return found


def rules_of(cluster: Cluster, names: Names) -> RulesState:
    with cluster.admin() as admin:
        places = admin.list_group_offsets(names.group("monitor"))
    note = MonitorMetadata.decode(places[Partition(names.topic(PROFILES), 0)].metadata)
    assert note is not None
    return RulesState.decode(note.judged)


def contiguous(windows: list[Window], begin: int) -> int:
    """Insist that windows follow each other from an offset on; return the next offset."""
    for window in windows:
        assert window.first_offset == begin
        begin = window.next_offset
    return begin


def work(
    cluster: Cluster, names: Names, file: Path, environment: Mapping[str, str], done: Callable[[], object]
) -> None:
    """Run the monitor and the notifier until all is read and this holds."""
    notifier = started(file, dict(environment))
    watching: subprocess.Popen[str] = monitor(file, dict(environment))
    until(lambda: lag(cluster, names) == 0 and done(), notifier, watching)
    end(watching)
    end(notifier)


def begun(run: Run, cluster: Cluster, names: Names, file: Path, environment: dict[str, str]) -> None:
    """Make a stream with two alerts of rules, one acknowledged and one silenced, and one of a role."""
    assert run("topics", "create", str(file))[0] == 0
    with_given_times(cluster, names)
    assert run("alerts", "silence", str(file), HELD, "--for", "2h", "--why", "a load test")[0] == 0
    first = started(file, environment)
    until(lambda: metadata(cluster, names) is not None, first)
    end(first)
    since = time.time_ns() // 1_000_000 // MINUTE * MINUTE - 30 * MINUTE
    publish(cluster, names, range(900), since, range(450, 900))
    with closing(raw_producer(cluster)) as producer:
        of_role = Alert("learner.memory", "warning", "raised", "the model grows", since, {})
        producer.send(names.topic("alerts"), of_role.encode(), b"learner.memory", partition=0)
        producer.flush(20)
    work(cluster, names, file, environment, lambda: len(alerts_of(cluster, names)) == 2)
    assert run("alerts", "ack", str(file), MISSING, "--why", "known")[0] == 0
    assert [*states(cluster, names).raised] == ["learner.memory", MISSING, HELD]


def assert_known(cluster: Cluster, names: Names, there: Names) -> None:
    """Alerts, and what the roles know of them, are those of the backup."""
    found = states(cluster, there)
    assert [*found.raised] == [MISSING, HELD], "a role begins without its memory, and so without its alerts"
    assert ([*found.acks], [*found.silences]) == ([MISSING], [HELD])
    assert rules_of(cluster, there) == rules_of(cluster, names)
    note = metadata(cluster, there)
    assert note is not None
    assert note.withheld == {HELD: found.raised[HELD].offset}


def assert_watched(before: Places, after: Places, names: Names, there: Names) -> None:
    """Windows are those from before, then those of the new records, each record in one."""
    for kind, partition in (("predictions", 0), ("predictions", 1), ("examples", 0)):
        topic = there.topic(kind)
        old, found = before[Partition(names.topic(kind), partition)], after[Partition(topic, partition)]
        assert found[: len(old)] == [msgspec.structs.replace(each, topic=topic) for each in old]
        if kind == "examples":
            assert contiguous(found, 0) > old[-1].next_offset + 100
        else:
            assert contiguous(found[len(old) :], 0) > 150


@pytest.mark.full
def test_a_restored_stream_goes_on_with_its_windows_and_alerts(
    home: Path, run: Run, environment: dict[str, str], cluster: Cluster, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver:
        file = home / "s.py"
        file.write_text(STREAM.format(url=receiver.url))
        begun(run, cluster, names, file, environment)
        windows, compared = written(cluster, names), run("drift", str(file))[1]
        code, made, errors = run("backup", "s", str(home / "backup"))
        assert (code, made["alerts"]) == (0, 5), errors

        there = Names("s", f"{names.prefix}b-", notifies=True)
        elsewhere = {"MILLSTREAM_PREFIX": there.prefix, "MILLSTREAM_HOME": str(home / "elsewhere")}
        for name, value in elsewhere.items():
            monkeypatch.setenv(name, value)
        for _ in range(2):  # a second time changes nothing
            code, restored, errors = run("restore", str(file), str(home / "backup"))
            assert (code, restored["windows"], restored["alerts"]) == (0, made["windows"], 5), errors
        assert_known(cluster, names, there)
        assert run("drift", str(file))[1] == compared, "it is there before any event"

        with_given_times(cluster, there)
        now = (time.time_ns() // 1_000_000 // MINUTE + 1) * MINUTE
        publish(cluster, there, range(900, 1300), now, range(900, 1000))
        work(cluster, there, file, {**environment, **elsewhere}, lambda: len(alerts_of(cluster, there)) == 4)
    raised, cleared = [(MISSING, "raised"), (HELD, "raised")], [(HELD, "cleared"), (MISSING, "cleared")]
    assert alerts_of(cluster, there)[:2] == raised
    assert sorted(alerts_of(cluster, there)[2:]) == cleared
    assert told(receiver.requests) == [(MISSING, "raised"), (MISSING, "cleared")], "nobody was told of what was held"
    assert_watched(windows, written(cluster, there), names, there)
    value = run("drift", str(file))[1]["values"]["feature:x"]
    assert value["reference"], "what was before the backup is the reference of what comes now"
    assert value["now"]


def alerts_of(cluster: Cluster, names: Names) -> list[tuple[str, str]]:
    """Return the alerts of rules, in the order of the topic."""
    topic = names.topic("alerts")
    with closing(cluster.consumer()) as consumer:
        end_at = topic_readers.end(consumer, topic)
        found = [
            read_alert_record(record.value or b"")
            for record in topic_readers.between(consumer, Partition(topic, 0), 0, end_at)
        ]
    return [(each.name, each.state) for each in found if isinstance(each, Alert) and each.name.startswith("monitor.")]
