"""What a role can be scraped for: names as Prometheus wants them, numbers that are right, probes that tell why."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.registry import CollectorRegistry
from scrape import get, scrape

from consumers.joiner.join import Emitted
from consumers.joiner.labels import EncodedLabel
from consumers.loop.dead_letters import dead_letter
from millstream.observability.prometheus import metrics_server
from millstream.observability.prometheus.catalog import METRICS
from millstream.observability.prometheus.collector import RoleCollector
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.histogram import Histogram
from millstream.observability.prometheus.metrics_server import MetricsServer, PortTaken
from millstream.observability.prometheus.role_metrics import RoleMeter
from runtime.kafka_client.library_names import KAFKA_PYTHON, LIBRDKAFKA, version_of
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from schemas.events import Label
from schemas.topics import Names

NAMES = Names("fraud", prefix="ann-")
FEATURES = Partition(NAMES.topic("features"), 0)
LABELS = Partition(NAMES.topic("labels"), 3)


@pytest.fixture
def meter(tmp_path: Path) -> RoleMeter:
    made = RoleMeter(Ends(tmp_path / "ends.json"))
    made.names(NAMES)
    return made


@pytest.fixture
def url(meter: RoleMeter) -> Iterator[str]:
    registry = CollectorRegistry()
    registry.register(RoleCollector(meter, "ann-fraud", "joiner", "ann-fraud.joiner-0"))
    serving = MetricsServer("127.0.0.1", 0, registry, meter.stands, meter.unready)
    yield serving.url
    serving.close()


def record(timestamp: int, **more: Any) -> Any:
    known = {"topic": FEATURES.topic, "partition": 0, "offset": 7, "key": None, "value": b"x", "headers": ()}
    return SimpleNamespace(timestamp=timestamp, **{**known, **more})


def test_names_are_as_prometheus_wants_them() -> None:
    for name, metric in METRICS.items():
        assert re.fullmatch(r"millstream(_[a-z]+)+", name), name
        assert (metric.kind == "counter") == name.endswith("_total"), name
        assert (metric.kind == "info") == name.endswith("_info"), name
        assert not name.endswith(("_count", "_sum", "_bucket")), name
        assert not re.search(r"_(ms|milliseconds|minutes|hours|kilobytes|percent|gauge|counter|histogram)(_|$)", name)
        assert metric.kind != "histogram" or name.endswith("_seconds"), name
        assert re.fullmatch(r"[A-Z0-9].+\.", metric.help), f"help of {name}"
        assert not {"instance", "le", "job", "stream", "role"} & set(metric.labels), name


def test_every_metric_has_its_help_and_type_before_there_is_anything_to_tell(url: str) -> None:
    shown = scrape(url).families
    for name, metric in METRICS.items():
        family = shown[name.removesuffix("_total")]
        assert family.documentation == metric.help
        assert family.type == ("gauge" if metric.kind == "info" else metric.kind)


def test_the_client_is_told_with_the_version_of_its_package(meter: RoleMeter) -> None:
    for client in (KAFKA_PYTHON, LIBRDKAFKA):
        registry = CollectorRegistry()
        registry.register(RoleCollector(meter, "ann-fraud", "joiner", "ann-fraud.joiner-0", client))
        labels = {"client": client, "version": version_of(client), "stream": "ann-fraud", "role": "joiner"}
        assert registry.get_sample_value("millstream_client_info", labels) == 1


def test_topics_that_labels_come_from_are_told_apart_however_alike_they_end(meter: RoleMeter, url: str) -> None:
    both = ("eu.chargebacks", "us.chargebacks")
    meter.names(Names("fraud", prefix="ann-", labels_from=both))
    meter.processed({Partition(topic, 0): [record(1, topic=topic)] for topic in both}, 0.02)
    meter.lag({Partition(topic, 0): number for number, topic in enumerate(both)})
    meter.committed([], {Partition(topic, 0): CommittedOffset(1, "{}") for topic in both}, 0.01)
    shown = scrape(url)
    for number, topic in enumerate(both):
        assert shown.value("millstream_records_consumed_total", topic=topic) == 1
        assert shown.value("millstream_lag_records", topic=topic, partition="0") == number


def test_a_batch_is_counted_event_by_event_once_it_is_committed(meter: RoleMeter, url: str) -> None:
    now = time.time_ns() // 1_000_000
    meter.assigned([FEATURES])
    meter.processed({FEATURES: [record(now - 20_000), record(now - 20_000), record(now - 200_000)]}, 0.02)
    latency = "millstream_record_latency_seconds_bucket"
    assert scrape(url).value(latency, topic="features", le="+Inf") is None, "it may never be committed"
    outputs = [Output(NAMES.topic("predictions"), 0, None, b"") for _ in range(3)]
    meter.committed(outputs, {FEATURES: CommittedOffset(3, "{}")}, 0.01)
    found = scrape(url)
    assert found.value("millstream_records_consumed_total", topic="features") == 3
    assert found.value("millstream_records_produced_total", topic="predictions") == 3
    assert found.value(latency, topic="features", le="10.0") == 0
    assert found.value(latency, topic="features", le="30.0") == 2
    assert found.value(latency, topic="features", le="+Inf") == 3


def test_what_was_dropped_before_its_commit_has_no_latency(meter: RoleMeter, url: str) -> None:
    meter.assigned([FEATURES])
    meter.processed({FEATURES: [record(0)]}, 0.02)
    meter.revoked()
    meter.assigned([FEATURES])
    meter.committed([], {}, 0.01)
    assert scrape(url).value("millstream_record_latency_seconds_count", topic="features") is None


def test_dead_letters_are_counted_by_their_code(meter: RoleMeter, url: str) -> None:
    letters = [
        dead_letter(NAMES.topic("dead-letters"), record(1), "joiner", code, "because", 1)
        for code in ("codec", "label", "codec")
    ]
    meter.committed(letters, {}, 0.01)
    found = scrape(url)
    assert found.value("millstream_dead_letters_total", code="codec") == 2
    assert found.value("millstream_dead_letters_total", code="label") == 1


def test_lag_is_in_records_and_in_seconds_and_nothing_is_late_where_all_is_read(meter: RoleMeter, url: str) -> None:
    other = Partition(FEATURES.topic, 1)
    meter.assigned([FEATURES, other])
    long_ago = time.time_ns() // 1_000_000 - 60_000
    meter.processed({FEATURES: [record(long_ago)], other: [record(long_ago)]}, 0.1)
    meter.lag({FEATURES: 12, other: 0})
    found = scrape(url)
    assert found.value("millstream_lag_records", topic="features", partition="0") == 12
    assert 60 <= (found.value("millstream_lag_seconds", topic="features", partition="0") or 0) < 90
    assert found.value("millstream_lag_seconds", topic="features", partition="1") == 0


def test_labels_by_state_are_what_stands_beside_the_offsets(meter: RoleMeter, url: str) -> None:
    note = '{"seq": 5, "counts": {"joined": 5, "late": 2}, "waiting": [4, 1], "oldest": 1500, "epoch": "e", "ids": "i"}'
    meter.assigned([LABELS])
    meter.committed([], {LABELS: CommittedOffset(9, note)}, 0.01)
    found = scrape(url)
    assert found.value("millstream_labels_total", partition="3", state="joined") == 5
    assert found.value("millstream_labels_total", partition="3", state="late") == 2
    assert found.value("millstream_labels_total", partition="3", state="unknown") == 0
    assert found.value("millstream_join_waiting", partition="3", kind="prediction") == 4
    assert found.value("millstream_join_oldest_timestamp_seconds", partition="3") == 1.5
    assert found.value("millstream_examples_joined_total", partition="3") == 5
    # A partition that another process has now is that one's to tell of.
    meter.assigned([])
    assert scrape(url).total("millstream_labels_total") == 0


def test_a_join_tells_how_long_it_waited_and_how_old_its_label_was(meter: RoleMeter, url: str) -> None:
    now = time.time_ns() // 1_000_000
    label = EncodedLabel.of(Label("e1", True, now))
    meter.joined([Emitted(b"", label, 1, now - 65_000, 1, now - 5_000), Emitted(b"", None, 2, now, -1, 0)])
    meter.committed([], {}, 0.01)
    found = scrape(url)
    assert found.value("millstream_join_wait_seconds_bucket", le="60.0") == 1
    assert found.value("millstream_join_wait_seconds_count") == 1, "an event that nobody labelled has waited for none"
    assert found.value("millstream_label_to_example_seconds_bucket", le="2.5") == 0
    assert found.value("millstream_label_to_example_seconds_bucket", le="10.0") == 1


def test_ready_is_who_has_its_partitions_and_what_it_needs(meter: RoleMeter, url: str) -> None:
    lacks: list[str] = ["no version to answer with yet"]
    meter.needs(lambda: next(iter(lacks), None))
    assert get(url + "/livez") == (200, "ok\n")
    assert get(url + "/readyz") == (503, "it is starting\n")
    meter.turned()
    assert get(url + "/readyz") == (503, "it has no assignment yet\n")
    meter.assigned([LABELS])
    assert get(url + "/readyz") == (503, "no version to answer with yet\n")
    lacks.clear()
    assert get(url + "/readyz") == (200, "ok\n")
    assert scrape(url).value("millstream_ready") == 1
    meter.revoked()
    assert get(url + "/readyz")[0] == 503


def test_a_loop_that_does_not_turn_is_not_alive(meter: RoleMeter, url: str) -> None:
    meter.turned()
    meter._turned -= 120  # as if it had stood for so long
    status, why = get(url + "/livez")
    assert (status, why) == (503, "the loop has not turned for 120 s\n")


def test_what_it_does_not_serve_is_not_found(url: str) -> None:
    assert get(url + "/etc/passwd")[0] == 404


def test_those_who_dawdle_take_no_threads_and_keep_nobody_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "_REQUEST_SECONDS", 1.0)
    where = ("127.0.0.1", int(url.rpartition(":")[2]))
    before = threading.active_count()
    with ExitStack() as stack:
        dawdlers = [stack.enter_context(socket.create_connection(where)) for _ in range(60)]
        for each in dawdlers:
            with suppress(OSError):
                each.sendall(b"GET /live")
        assert get(url + "/readyz")[0] == 503
        assert threading.active_count() - before < 30
        began = time.monotonic()
        while time.monotonic() - began < 10 and threading.active_count() > before:
            for each in dawdlers:
                with suppress(OSError):
                    each.sendall(b"z")  # a byte now and then puts the end of no one read off for ever
            time.sleep(0.1)
        assert threading.active_count() <= before
    assert get(url + "/livez")[0] == 200


def test_a_port_that_is_taken_is_one_line_that_says_so(meter: RoleMeter) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}.*--metrics-port") as refused:
            MetricsServer("127.0.0.1", port, CollectorRegistry(), meter.stands, meter.unready)
    assert refused.value.exit_code == 1


def test_ends_outlive_the_process_and_a_kill_is_seen_by_the_next(tmp_path: Path) -> None:
    first = Ends(tmp_path / "ends.json")
    first.begin()
    first.aborted()
    first.end(75)
    Ends(tmp_path / "ends.json").begin()  # and is killed
    third = Ends(tmp_path / "ends.json")
    third.begin()
    assert third.told.ends == {"75": 1, "killed": 1}
    assert third.told.aborted == 1


def test_a_file_of_ends_that_is_rubbish_or_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "ends.json").write_bytes(b"\xff")
    ends = Ends(tmp_path / "ends.json")
    ends.begin()
    assert ends.told.ends == {}
    (tmp_path / "file").touch()
    Ends(tmp_path / "file" / "ends.json").begin()


def test_a_histogram_takes_times_of_clocks_that_are_ahead_as_none() -> None:
    histogram = Histogram((1.0,))
    histogram.add([(-3.0, 2)])
    assert histogram.read() == ([("1.0", 2.0), ("+Inf", 2.0)], 0.0)
