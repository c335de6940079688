"""Serving of a role's metrics: runs the role with its meter, collectors and HTTP server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from millstream.observability.instrumentation import RoleInstrumentation
from runtime.exits import FAILED, TRY_AGAIN
from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.library_names import DEFAULT as DEFAULT_CLIENT

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry

    from millstream.observability.prometheus.role_metrics import RoleMeter
    from schemas.topics import Names


@dataclass(frozen=True)
class Address:
    """Address of the metrics server; port 0 chooses a free one. With `socket`, a Unix socket for a supervisor."""

    host: str
    port: int
    socket: str = ""


@dataclass(frozen=True)
class Scraped:
    """Stream and process of the metrics.

    Attributes
    ----------
    state
        Folder for data that outlives the process.
    client
        Name of the library of its Kafka client.
    """

    names: Names
    role: str
    instance: str
    state: Path
    client: str = DEFAULT_CLIENT


def measured(
    address: Address | None,
    scraped: Scraped,
    work: Callable[[RoleInstrumentation], int],
    say: Callable[[str], None] = print,
) -> int:
    """Run `work` with a meter served at `address`, or with one that does nothing; return its exit code.

    Raises
    ------
    PortTaken
        If the server cannot listen there; the work was not started.
    """
    if address is None:
        return work(RoleInstrumentation())
    from millstream.observability.prometheus.exit_counts import Ends
    from millstream.observability.prometheus.local_socket import LocalSocket
    from millstream.observability.prometheus.metrics_server import MetricsServer
    from millstream.observability.prometheus.role_metrics import RoleMeter

    ends = Ends(scraped.state / f"{scraped.role}-{scraped.instance}.ends.json")
    meter = RoleMeter(ends)
    meter.names(scraped.names)
    registry = _registry(meter, scraped)
    server: MetricsServer | LocalSocket
    if address.socket:
        server = LocalSocket(Path(address.socket), registry)
    else:
        server = MetricsServer(address.host, address.port, registry, meter.stands, meter.unready)
        say(f"metrics: {server.url}/metrics, /livez and /readyz")
    ends.begin()
    code = TRY_AGAIN
    try:
        code = work(meter)
        return code
    except Exception as error:
        code = getattr(error, "exit_code", code if isinstance(error, KafkaError) else FAILED)
        raise
    finally:
        ends.end(code)
        server.close()


def _registry(meter: RoleMeter, scraped: Scraped) -> CollectorRegistry:
    from prometheus_client import GCCollector, PlatformCollector, ProcessCollector
    from prometheus_client.registry import CollectorRegistry

    from millstream.observability.prometheus.collector import RoleCollector

    names = scraped.names
    registry = CollectorRegistry()
    process = names.process(scraped.role, scraped.instance)
    stream = f"{names.prefix}{names.stream}"
    registry.register(RoleCollector(meter, stream, scraped.role, process, scraped.client))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
