"""Options for metrics, log format and traces of a role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

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
    """Port for /metrics, /livez and /readyz [default: none; 0: a free port]. `run` uses this port and the next ones;
    `serve` and `server --workers` sum over their processes."""

    metrics_host: str = "127.0.0.1"
    """Address to serve these pages at."""

    metrics_socket: Annotated[str, Parameter(show=False)] = ""
    """Unix socket at which a supervisor reads the metrics of this process."""

    log_format: Format = "auto"
    """Format of log lines: auto is text on a terminal (for `run`, always) and JSON elsewhere."""

    trace_ratio: float = 0.0
    """Share of events to trace with OpenTelemetry, 0 to 1 (extra `otel`; see OTEL_EXPORTER_OTLP_ENDPOINT)."""

    def ratio(self) -> float:
        """Return the share of events to trace. Raises UsageError if it is invalid."""
        if not 0 <= self.trace_ratio <= 1:
            raise UsageError(f"--trace-ratio {self.trace_ratio:g} must be from 0 to 1")
        return self.trace_ratio

    def address(self, ports: int = 1) -> Address | None:
        """Return the first address for the metrics of `ports` processes. Raises UsageError if a port is invalid."""
        from millstream.observability.prometheus.serve_metrics import Address

        if self.metrics_socket:
            return Address("", 0, self.metrics_socket)
        if self.metrics_port is None:
            return None
        if not 0 <= self.metrics_port <= _LARGEST_PORT - ports + 1:
            raise UsageError(f"--metrics-port {self.metrics_port} must be from 0 to {_LARGEST_PORT - ports + 1}")
        return Address(self.metrics_host, self.metrics_port)


@Parameter(name="*", group="Monitoring")
@dataclass(frozen=True)
class MonitoringOfRun(Monitoring):
    """The options of the command that runs all roles."""

    no_monitor: Annotated[bool, Parameter(negative="")] = False
    """Leave out the monitor, which watches the stream for drift."""


UNWATCHED = Monitoring()
UNWATCHED_RUN = MonitoringOfRun()
