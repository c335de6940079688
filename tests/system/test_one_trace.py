"""A collector that real roles send their spans to: of one event, one trace from its features to the version."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from system.commands import running
from system.oracle import Stream

from millstream.traces.ids import Sampler
from schemas.cluster import Cluster
from schemas.events import Event, Label
from schemas.topics import partition_of

CALLER = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


class Collector:
    """Takes OTLP over HTTP, as a real one does."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []  # service and span
        self.came = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                outer.take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self.came:
            for resource in request.resource_spans:
                told = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self.spans += [(told["service.name"], span) for span in scope.spans]
            self.came.notify_all()

    def of(self, trace: int, count: int) -> dict[str, Any]:
        """Return the spans of a trace by their names, once there are so many."""
        deadline = time.monotonic() + 60
        wanted = trace.to_bytes(16)
        with self.came:
            while len(found := [span for _, span in self.spans if span.trace_id == wanted]) < count:
                assert self.came.wait(deadline - time.monotonic()), [(name, span.name) for name, span in self.spans]
        return {span.name: span for span in found}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def send(stream: Stream, event: Event, label: Label) -> None:
    producer = Cluster(stream.bootstrap).producer()
    traceparent = f"00-{CALLER[0]}-{CALLER[1]}-01".encode()
    number = partition_of(event.event_id, 4)
    for kind, value in (("features", event.encode()), ("labels", label.encode())):
        topic = stream.names.topic(kind)
        producer.send(topic, value, event.event_id.encode(), [("traceparent", traceparent)], number)
    producer.flush(20)
    producer.close()


def test_an_event_is_one_trace_from_its_features_to_the_version_that_learned_it(
    bootstrap: str, prefix: str, tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream("phishing", bootstrap, prefix, tmp_path / "home")
    monkeypatch.setenv("MILLSTREAM_TRACE_RATIO", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server.server_port}")
    now = time.time_ns() // 1_000_000
    ids = Sampler(f"{prefix}phishing", 1.0).ids(b"e1")
    assert ids is not None
    with running(stream, tmp_path / "run.log"):
        send(stream, Event("e1", now, {"ip_in_url": 1.0}), Label("e1", True, now))
        spans = collector.of(ids.trace, 3)
    predict, join, learn = (spans[f"millstream {name}"] for name in ("predict", "join", "learn"))
    assert [span.span_id for span in (predict, join, learn)] == [
        number.to_bytes(8) for number in (ids.predict, ids.join, ids.learn)
    ]
    assert (predict.parent_span_id, join.parent_span_id, learn.parent_span_id) == (
        b"", predict.span_id, join.span_id,
    )  # fmt: skip
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in predict.links] == [CALLER]
    assert predict.start_time_unix_nano <= predict.end_time_unix_nano <= join.end_time_unix_nano
    assert join.end_time_unix_nano <= learn.end_time_unix_nano
    told = {each.key: each.value for each in learn.attributes}
    assert told["millstream.version"].string_value == "1/1"
    assert {event.name for event in join.events} == {"predicted", "labelled"}
    assert {service for service, _ in collector.spans} == {
        "millstream-predictor", "millstream-joiner", "millstream-learner",
    }  # fmt: skip
