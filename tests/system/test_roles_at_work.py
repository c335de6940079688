"""All roles as processes, watched while they work: scraped, and traced to a collector."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from collector import Collector
from raw_kafka import raw_producer
from scrape import Scrape, get, scrape
from system.commands import running
from system.oracle import Stream

from millstream.observability.prometheus.catalog import METRICS
from millstream.observability.tracing.trace_ids import Sampler
from runtime.kafka_client.cluster import Cluster
from schemas.events import Event, Label
from schemas.topics import partition_of

EVENTS = 200
CALLER = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


@dataclass(frozen=True)
class AtWork:
    """A stream whose events have all been answered, joined and learned; `urls` by role."""

    stream: Stream
    urls: dict[str, str]
    collector: Collector


@pytest.fixture(scope="module")
def at_work(client: str, bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AtWork]:
    """Run the roles once for all tests here: they only look."""
    home = tmp_path_factory.mktemp("at-work")
    stream = Stream("phishing", bootstrap, f"t{uuid.uuid4().hex[:8]}-", home)
    collector = Collector()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MILLSTREAM_METRICS_PORT", "0")
        monkeypatch.setenv("MILLSTREAM_TRACE_RATIO", "1")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server.server_port}")
        with running(stream, home / "run.log"):
            urls = _urls(home / "run.log")
            send(stream)
            until(urls["learner"], "millstream_checkpoint_examples", EVENTS)
            until(urls["predictor"], "millstream_served_version_examples", EVENTS)
            yield AtWork(stream, urls, collector)
    collector.server.shutdown()
    collector.server.server_close()


def send(stream: Stream) -> None:
    producer = raw_producer(Cluster(stream.bootstrap))
    headers = [("traceparent", f"00-{CALLER[0]}-{CALLER[1]}-01".encode())]
    now = time.time_ns() // 1_000_000
    for index in range(EVENTS):
        name = f"e{index}"
        event, label = Event(name, now, {"ip_in_url": float(index % 2)}), Label(name, index % 3 == 0, now)
        for kind, value in (("features", event.encode()), ("labels", label.encode())):
            topic = stream.names.topic(kind)
            producer.send(topic, value, name.encode(), headers, partition_of(name, 4))
    producer.flush(20)
    producer.close()


def until(url: str, name: str, value: float, seconds: float = 60, **labels: str) -> Scrape:
    deadline = time.monotonic() + seconds
    while (found := scrape(url)).total(name, **labels) < value or found.total("millstream_lag_records") > 0:
        assert time.monotonic() < deadline, f"{name} is {found.total(name, **labels)}, not {value}, or there is lag"
        time.sleep(0.2)
    return found


_TOLD: Final = re.compile(r"^(\w+)-0 +\| metrics: (http://127\.0\.0\.1:\d+)/metrics", re.MULTILINE)


def _urls(log: Path) -> dict[str, str]:
    """Return where each role is scraped, as it said itself."""
    deadline = time.monotonic() + 60
    while True:
        told = dict(_TOLD.findall(log.read_text()))
        if told.keys() == {"predictor", "joiner", "learner", "monitor"}:
            return told
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_roles_at_work_show_what_they_have_done(at_work: AtWork) -> None:
    urls = at_work.urls
    learner = scrape(urls["learner"])
    joiner = until(urls["joiner"], "millstream_labels_total", EVENTS, state="joined")
    predictor = until(urls["predictor"], "millstream_record_latency_seconds_count", EVENTS)
    assert predictor.value("millstream_records_produced_total", topic="predictions") == EVENTS
    assert predictor.total("millstream_version_swaps_total") >= 1
    assert joiner.value("millstream_join_wait_seconds_count") == EVENTS
    assert joiner.value("millstream_label_to_example_seconds_count") == EVENTS
    assert learner.value("millstream_examples_learned") == EVENTS
    assert learner.total("millstream_model_size_bytes") > 1000
    assert 0 < learner.total("millstream_model_metric", source="progressive", span="all", metric="Accuracy") < 1
    assert learner.total("process_resident_memory_bytes") > 10_000_000
    for shown in (predictor, joiner, learner):
        assert {name.removesuffix("_total") for name in METRICS} <= set(shown.families)


def test_roles_at_work_are_alive_and_ready(at_work: AtWork) -> None:
    for url in at_work.urls.values():
        assert get(url + "/livez") == (200, "ok\n")
        assert get(url + "/readyz") == (200, "ok\n")
        assert scrape(url).value("millstream_ready") == 1


def test_an_event_is_one_trace_from_its_features_to_the_version_that_learned_it(at_work: AtWork) -> None:
    ids = Sampler(f"{at_work.stream.prefix}phishing", 1.0).ids(b"e7")
    assert ids is not None
    spans = at_work.collector.of(ids.trace, 3)
    predict, join, learn = (spans[f"millstream {name}"] for name in ("predict", "join", "learn"))
    assert [int.from_bytes(span.span_id) for span in (predict, join, learn)] == [ids.predict, ids.join, ids.learn]
    parents = [span.parent_span_id for span in (predict, join, learn)]
    assert parents == [b"", predict.span_id, join.span_id]
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in predict.links] == [CALLER]
    assert predict.start_time_unix_nano <= predict.end_time_unix_nano <= join.end_time_unix_nano
    assert join.end_time_unix_nano <= learn.end_time_unix_nano
    told = {each.key: each.value for each in learn.attributes}
    epoch, _, examples = told["millstream.version"].string_value.partition("/")
    assert epoch == "1"
    assert 1 <= int(examples) <= EVENTS
    assert {event.name for event in join.events} == {"predicted", "labelled"}
    services = {service for service, _ in at_work.collector.spans}
    assert services == {f"millstream-{role}" for role in ("predictor", "joiner", "learner")}
