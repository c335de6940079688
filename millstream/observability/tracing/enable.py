"""Traces switched on: what is needed for them, and whose they are."""

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
    """Traces are asked for and cannot be made; the message says how they can."""


@contextmanager
def traced(ratio: float, whose: Scraped, say: Callable[[str], None] = print) -> Iterator[RoleInstrumentation]:
    """Lend a meter that traces so large a share of all events; one that does nothing where it is 0.

    Where spans go is told by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, ..._HEADERS, ...).

    Raises
    ------
    NoTracing
        Where the extra `otel` is not installed.
    """
    if not ratio:
        yield RoleInstrumentation()
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
    except ImportError as error:
        raise NoTracing(
            f"--trace-ratio needs OpenTelemetry, which is not here ({error}): pip install 'millstream[otel]'"
        ) from error
    import logging

    from millstream.observability.tracing.spans import Spans
    from millstream.observability.tracing.trace_ids import Sampler
    from millstream.observability.tracing.tracer import TraceMeter

    # What it says of a collector that is away is said once a minute, in a line of ours.
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
