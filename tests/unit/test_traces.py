"""Traces: whose an event's is, what is a sender's own, and that nothing of it stands in a role's way."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from consumers.joiner.join import Emitted
from consumers.joiner.labels import EncodedLabel
from millstream.cli import app
from millstream.observability.instrumentation import RoleInstrumentation
from millstream.observability.prometheus.serve_metrics import Scraped
from millstream.observability.tracing.enable import NoTracing, traced
from millstream.observability.tracing.spans import Spans
from millstream.observability.tracing.trace_ids import Sampler, id_of, traceparent
from millstream.observability.tracing.tracer import TraceMeter
from runtime.kafka_client.records import Output, Partition
from schemas import codec
from schemas.events import Label, read_prediction
from schemas.topics import Names

NAMES = Names("fraud")
FEATURES = Partition("fraud.features", 0)
EXAMPLES = Partition("fraud.examples", 0)


def prediction(event_id: str, error: dict[str, str] | None = None) -> bytes:
    event = {"event_id": event_id, "event_time": 1, "entity_key": None, "features": {}}
    outcome = {
        "prediction": True, "probabilities": None, "model": "fraud", "epoch": 1, "examples": 7, "predicted_at": 2_000,
        "source_topic": "fraud.features", "source_partition": 0, "source_offset": 5, "error": error, "role": "serving",
        "status": "ok" if error is None else "error",
    }  # fmt: skip
    return codec.PREDICTION.encode({"event": event, "outcome": outcome})


def record(offset: int, **more: Any) -> Any:
    return SimpleNamespace(offset=offset, timestamp=1_000, value=None, headers=(), **more)


def spans(ratio: float = 1.0) -> Spans:
    return Spans(Sampler("fraud", ratio), Resource({}))


@pytest.mark.parametrize("event_id", ["e1", "x" * 63, "x" * 64, "x" * 8191, "ü" * 100])
def test_an_event_id_is_read_from_the_bytes_as_avro_reads_it(event_id: str) -> None:
    encoded = prediction(event_id)
    assert id_of(encoded).decode() == read_prediction(encoded).event.event_id == event_id


@pytest.mark.parametrize("junk", [b"", b"\xc3\x01", b"\xff" * 40, b"{}" * 9])
def test_an_id_of_rubbish_is_rubbish_and_no_error(junk: bytes) -> None:
    assert isinstance(id_of(junk), bytes)


@pytest.mark.parametrize(
    "value",
    [
        b"", b"00-0-0-01", b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", b"x" * 5000,
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01", b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
    ],
)  # fmt: skip
def test_a_traceparent_that_is_none_is_passed_over(value: bytes) -> None:
    assert traceparent([("traceparent", value)]) is None


def test_a_share_is_a_share_and_a_larger_one_has_the_smaller_within() -> None:
    few, many = Sampler("fraud", 0.1), Sampler("fraud", 0.5)
    ids = [b"event-%d" % number for number in range(5000)]
    traced = {each for each in ids if few.ids(each)}
    assert 400 < len(traced) < 600
    assert traced <= {each for each in ids if many.ids(each)}
    assert not any(Sampler("fraud", 0.0).ids(each) for each in ids)
    assert all(Sampler("fraud", 1.0).ids(each) for each in ids)
    assert Sampler("other", 1.0).ids(b"e") != Sampler("fraud", 1.0).ids(b"e")


def test_an_error_answer_is_a_span_that_failed_and_a_sender_is_linked() -> None:
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    asked = record(5)
    asked.headers = [("traceparent", caller.encode())]
    output = Output("fraud.predictions", 0, b"e1", prediction("e1", {"code": "time", "message": "it is late"}))
    (made,) = spans().predicted([{FEATURES: [record(4), asked]}], [output], 3_000_000_000)
    assert (made.start_time, made.end_time) == (1_000_000_000, 3_000_000_000)
    assert made.attributes is not None
    assert made.attributes["error.type"] == "time"
    assert made.status.description == "it is late"
    assert [f"{link.context.trace_id:032x}" for link in made.links] == [caller.split("-")[1]]


def version(examples: int, offset: int, skipped: Sequence[Any] = ()) -> Any:
    name = SimpleNamespace(model="fraud", epoch=1, examples=examples)
    return SimpleNamespace(version=name, offset=offset, skipped=list(skipped))


def test_an_example_is_learned_by_the_first_version_that_has_it_and_by_no_other() -> None:
    made = spans()
    list(made.written(version(2, 2), fresh=False, at_ns=0))  # what it resumed from
    read = [record(offset) for offset in range(5)]
    for each in read:
        each.value = prediction(f"e{each.offset}")  # its event comes first, as in an example
    made.read(read)
    first = list(made.written(version(4, 4, [(3, 3)]), fresh=True, at_ns=9_000_000_000))
    assert [span.attributes["messaging.kafka.offset"] for span in first if span.attributes] == [2]
    second = list(made.written(version(5, 5), fresh=True, at_ns=9_000_000_000))
    assert [span.attributes["messaging.kafka.offset"] for span in second if span.attributes] == [4]
    assert list(made.written(version(6, 6), fresh=True, at_ns=9_000_000_000)) == []


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_joined_is_sent_once_it_is_committed_and_at_the_latest_at_the_end() -> None:
    exporter = InMemorySpanExporter()
    meter = TraceMeter(NAMES, spans(), exporter, print)
    emitted = [Emitted(prediction("e1"), EncodedLabel.of(Label("e1", True, 1)), 1, 1_000, 1, 2_000)]
    meter.joined(emitted)
    meter.revoked()  # it was not committed, and will be joined again
    meter.committed([], {}, 0.1)
    meter.joined(emitted)
    meter.committed([Output("fraud.examples", 0, None, b"")], {}, 0.1)
    meter.close()
    assert [span.name for span in exporter.get_finished_spans()] == ["millstream join"]


class _Stuck(SpanExporter):
    """A collector that does not answer."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.go_on.wait(20)
        return SpanExportResult.FAILURE


def test_a_collector_that_does_not_answer_costs_the_role_nothing_but_its_traces() -> None:
    exporter, said = _Stuck(), list[str]()
    meter = TraceMeter(NAMES, spans(), exporter, said.append)
    output = Output("fraud.predictions", 0, b"e1", prediction("e1"))

    def answer() -> None:
        meter.processed({FEATURES: [record(5)]}, 0.1)
        meter.committed([output], {}, 0.1)

    answer()
    assert exporter.asked.wait(10)
    began = time.monotonic()
    for _ in range(2_000):
        answer()
    assert time.monotonic() - began < 15  # the exporter answers after 20
    assert said == []
    exporter.go_on.set()
    until(lambda: said)
    meter.close()
    assert said == ["traces are lost (1, perhaps more within a minute): the collector does not take them: "
                    "see OTEL_EXPORTER_OTLP_ENDPOINT"]  # fmt: skip


def test_a_ratio_that_is_none_is_a_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["joiner", "phishing", "--trace-ratio", "1.5", "--log-format", "text"]) == 2
    assert capsys.readouterr().err == "millstream: error: --trace-ratio 1.5 must be from 0 to 1\n"


def test_without_the_extra_it_is_a_line_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    whose = Scraped(NAMES, "joiner", "0", Path())
    with pytest.raises(NoTracing, match=re.escape("pip install 'millstream[otel]'")), traced(0.5, whose):
        pass


def test_switched_off_it_is_a_meter_that_does_nothing() -> None:
    with traced(0.0, Scraped(NAMES, "joiner", "0", Path())) as meter:
        assert type(meter) is RoleInstrumentation
