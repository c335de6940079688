"""The options with which a role can be watched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cyclopts import Parameter

from millstream.cli.shared_options import UsageError
from millstream.observability.role_log import Format

if TYPE_CHECKING:
    from millstream.observability.prometheus.serve_metrics import Address

_LARGEST_PORT = 65_535


@Parameter(name="*", group="Monitoring")
@dataclass(frozen=True)
class Monitoring:
    """The options of every command that runs roles."""

    metrics_port: int | None = None
    """Serve /metrics, /livez and /readyz here [default: not at all; 0: a free port]. `run` takes one for each role."""

    metrics_host: str = "127.0.0.1"
    """The address to serve them at."""

    log_format: Format = "auto"
    """Of what roles say: auto is text on a terminal (and of `run`, always) and JSON lines elsewhere."""

    trace_ratio: float = 0.0
    """The share of events to trace, 0 to 1, with OpenTelemetry (extra `otel`; see OTEL_EXPORTER_OTLP_ENDPOINT)."""

    def ratio(self) -> float:
        """Return the share of events that are traced. UsageError."""
        if not 0 <= self.trace_ratio <= 1:
            raise UsageError(f"--trace-ratio {self.trace_ratio:g} must be from 0 to 1")
        return self.trace_ratio

    def address(self, ports: int = 1) -> Address | None:
        """Return where metrics are served, by so many processes on consecutive ports. UsageError."""
        from millstream.observability.prometheus.serve_metrics import Address

        if self.metrics_port is None:
            return None
        if not 0 <= self.metrics_port <= _LARGEST_PORT - ports + 1:
            raise UsageError(f"--metrics-port {self.metrics_port} must be from 0 to {_LARGEST_PORT - ports + 1}")
        return Address(self.metrics_host, self.metrics_port)


UNWATCHED = Monitoring()
