"""Activation of traces: checks that OpenTelemetry is installed and creates a role's tracer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Final

from millstream.observability.instrumentation import RoleInstrumentation

if TYPE_CHECKING:
    from millstream.observability.prometheus.serve_metrics import Scraped

_SEND_SECONDS: Final = 5.0


class NoTracing(Exception):  # noqa: N818
    """Traces are requested but OpenTelemetry is missing; the message gives the solution."""


@contextmanager
def traced(ratio: float, whose: Scraped, say: Callable[[str], None] = print) -> Iterator[RoleInstrumentation]:
    """Yield a meter that traces this share of all events; with a share of 0 it does nothing.

    OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, ..._HEADERS, ...) set the destination of the spans.

    Raises
    ------
    NoTracing
        If the extra `otel` is not installed.
    """
    if not ratio:
        yield RoleInstrumentation()
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
    except ImportError as error:
        raise NoTracing(
            f"--trace-ratio needs OpenTelemetry, which is not installed ({error}): pip install 'millstream[otel]'"
        ) from error
    import logging

    from millstream.observability.tracing.spans import Spans
    from millstream.observability.tracing.trace_ids import Sampler
    from millstream.observability.tracing.tracer import TraceMeter

    # Millstream itself reports an unreachable collector, once a minute, so OpenTelemetry's messages are off.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    names = whose.names
    stream = f"{names.prefix}{names.stream}"
    resource = Resource.create(
        {
            "service.name": f"millstream-{whose.role}",
            "service.namespace": stream,
            "service.instance.id": names.process(whose.role, whose.instance),
            "service.version": metadata.version("millstream"),
        }
    )
    meter = TraceMeter(names, Spans(Sampler(stream, ratio), resource), OTLPSpanExporter(timeout=_SEND_SECONDS), say)
    try:
        yield meter
    finally:
        meter.close()
