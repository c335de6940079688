"""Downstream metrics: from the stream file, over HTTP, and in the monitor's windows."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from unit.http_site import NAMES, Make, Site, make

from consumers.monitor.windows import METRICS, TOO_MANY_NAMES, UNREADABLE, PartitionWindows
from millstream import Source, Stream
from millstream.config.settings import Settings
from millstream.stream.errors import InvalidStream
from millstream.stream.metric_readers import metric_readers
from millstream.stream.monitor_rules import window_rules
from millstream.topics import acls
from runtime.kafka_client.records import PlainRecord
from schemas.codec import CodecError
from schemas.profiles import Window
from schemas.sources.metrics import MOST_NAMES, Metric, read_metric
from schemas.topics import InvalidName, Names, specs

__all__ = ["make"]
NOW = 1_700_000_000_000
TAKES = dataclasses.replace(NAMES, takes_metrics=True)
ORDERS = Source(topic="orders", format="json", fields={"orders": "total", "returns": "lines.returned"})


def stream(**more: Any) -> Stream:
    return Stream(name="fraud", task="binary", model=dict, **more)


@pytest.fixture
def site(make: Make) -> Site:
    return make(names=TAKES)


# --- the stream file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("kafka", "metrics_from='kafka' must be Source"),
        (7, "metrics_from=7 must be Source"),
        (["http", 3], "metrics_from=3 must be Source"),
        (Source(topic="orders", value="total"), "id=, time=, contract=, value= and weight= are of events and labels"),
        (Source(topic="orders", fields={"no name": "total"}), "must be named with 1 to 64"),
        ([ORDERS, ORDERS], "names the topic orders twice"),
    ],
)
def test_what_gives_no_metrics_is_refused(said: Any, why: str) -> None:
    with pytest.raises(InvalidStream, match=why):
        stream(metrics_from=said)


def test_topics_and_rights_are_only_there_where_they_are_asked_for() -> None:
    settings = Settings.__new__(Settings)
    object.__setattr__(settings, "prefix", "")
    plain, both = settings.names(stream()), settings.names(stream(metrics_from=["http", ORDERS]))
    assert "metrics" not in plain.kinds
    assert "metrics" in both.own
    assert both.metrics_from == ("orders",)
    assert "fraud.metrics" in [spec.name for spec in specs(both, partitions=1, label_wait_ms=1000)]

    def rights(names: Names, principal: str) -> set[tuple[str, str]]:
        found = acls.rights(names, principal)
        return {(each.name, each.operation) for each in found if each.name in ("orders", "fraud.metrics")}

    assert rights(plain, "forwarder") == rights(plain, "monitor") == set()
    assert rights(both, "forwarder") >= {("fraud.metrics", "Write")}
    assert rights(both, "monitor") >= {("fraud.metrics", "Read"), ("orders", "Read"), ("orders", "Describe")}
    assert ("orders", "Write") not in rights(both, "monitor") | rights(both, "forwarder")
    with pytest.raises(InvalidName, match="metrics of fraud cannot come from"):
        settings.names(stream(metrics_from=Source(topic="fraud.labels")))


# --- over HTTP -----------------------------------------------------------------------------------------


def test_values_are_logged_one_or_many(site: Site) -> None:
    said = site.one({"value": 31.5, "time": 7}, "/v1/metrics/orders")
    assert (said.status, said.json) == (202, {"metric": "orders", "taken": True})
    rows = [{"value": 2}, {"value": "many"}, {"time": 3}, {"value": True}, {"value": 1, "more": 2}]
    many = site.one({"values": rows}, "/v1/metrics/orders.eu").json["values"]
    assert many[0] == {"metric": "orders.eu", "taken": True}
    assert [each["error"]["code"] for each in many[1:]] == ["json"] * 4
    lines = site.one(b'{"value":1}\n\n{"value":2}\n', "/v1/metrics/visits", content_type="application/x-ndjson")
    assert lines.status == 200
    first, second, *others = map(read_metric, site.values("metrics"))
    assert first == Metric("orders", 31.5, 7)
    assert (second.name, second.value) == ("orders.eu", 2.0)
    assert second.time > 1_600_000_000_000
    assert [each.value for each in others] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/metrics/1st", b'{"value": 1}', 400, "name"),
        ("/v1/metrics/" + 65 * "a", b'{"value": 1}', 400, "name"),
        ("/v1/metrics/a%2Fb", b'{"value": 1}', 400, "name"),
        ("/v1/metrics/", b'{"value": 1}', 404, "not-found"),
        ("/v1/metrics/a/b", b'{"value": 1}', 404, "not-found"),
        ("/v1/metrics/a", b"", 400, "json"),
        ("/v1/metrics/a", b"7", 400, "json"),
        ("/v1/metrics/a", b'{"value": NaN}', 400, "json"),
        ("/v1/metrics/a", b'{"value": 1e999}', 400, "json"),
        ("/v1/metrics/a", b'{"values": 3}', 400, "json"),
        ("/v1/metrics/a", b'{"value": 1, "time": 9e99}', 400, "json"),
    ],
)
def test_what_is_no_value_is_refused(site: Site, path: str, body: bytes, status: int, code: str) -> None:
    said = site.one(body, path)
    assert (said.status, said.code) == (status, code)
    assert site.entries() == []


def test_a_value_with_an_idempotency_key_is_taken_once(site: Site) -> None:
    assert site.one({"value": 3}, "/v1/metrics/orders", idempotency_key="k").status == 202
    assert site.one({"value": 3}, "/v1/metrics/orders", idempotency_key="k").json["repeated"] is True
    assert site.one({"value": 4}, "/v1/metrics/orders", idempotency_key="k").code == "conflict"
    assert len(site.values("metrics")) == 1


def test_too_much_at_once_is_refused(site: Site) -> None:
    path = "/v1/metrics/orders"
    assert site.one(b'{"values":[' + b"1," * 150_000 + b"1]}", path).code == "too-many"
    assert site.one(b"1\n" * 100_001, path, content_type="application/x-ndjson").code == "too-many"
    assert site.one(b'{"value": 1' + b" " * (1 << 20) + b"}", path).code == "too-large"
    assert site.entries() == []


def test_a_stream_that_asks_for_none_takes_none_and_says_how(make: Make) -> None:
    said = make().one({"value": 1}, "/v1/metrics/orders")
    assert (said.status, said.code) == (404, "no-metrics")
    assert "metrics_from='http'" in said.json["error"]["message"]


# --- in windows ----------------------------------------------------------------------------------------


def window_of(watched: Stream, topic: str, values: list[bytes | None], size: int = 1) -> Window:
    rules, names = window_rules(watched), Names("fraud", takes_metrics=watched.takes_metrics)
    windows = PartitionWindows(METRICS, rules, metric_readers(watched, names, None)[topic])
    records = [PlainRecord(topic, 0, offset, NOW, None, value) for offset, value in enumerate(values)]
    records.append(PlainRecord(topic, 0, len(values), NOW + 2 * rules.span_ms, None, values[0]))
    closed: list[Window] = []
    for at in range(0, len(records), size):
        closed += windows.take(records[at : at + size])
    (window,) = closed
    return window


def test_numbers_of_an_external_topic_are_profiles() -> None:
    values = [
        b'{"total": 3, "lines": {"returned": 1}}',
        b'{"total": 5.5}',
        b'{"total": "many"}',
        b'{"total": true, "other": 7}',
        None,
        b"no json",
    ]
    window = window_of(stream(metrics_from=ORDERS), "orders", values)
    assert (window.kind, window.events, window.errors) == ("metrics", 5, {UNREADABLE: 1})
    orders, returns = window.profiles["metric:orders"], window.profiles["metric:returns"]
    assert orders.numbers is not None
    assert (orders.numbers.count, orders.numbers.mean, orders.missing) == (3, pytest.approx(9.5 / 3), 2)
    assert returns.numbers is not None
    assert (returns.numbers.count, returns.missing) == (1, 4)
    assert window == window_of(stream(metrics_from=ORDERS), "orders", values, size=4), "whatever the batches"


def test_values_taken_over_http_are_profiles_and_their_names_are_bounded() -> None:
    names = [f"m{number}" for number in range(MOST_NAMES + 50)]
    values = [Metric(name, 2.0, NOW).encode() for name in names] + [Metric("m0", 4.0, NOW).encode()]
    window = window_of(stream(metrics_from="http"), "fraud.metrics", values)
    assert len([key for key in window.profiles if key.startswith("metric:")]) == MOST_NAMES
    assert window.errors == {TOO_MANY_NAMES: 50}
    numbers = window.profiles["metric:m0"].numbers
    assert numbers is not None
    assert (numbers.count, numbers.mean) == (2, 3.0)


def test_a_value_that_is_not_finite_cannot_be_read() -> None:
    with pytest.raises(CodecError, match="must be finite"):
        read_metric(Metric("a", float("inf"), 1).encode())
