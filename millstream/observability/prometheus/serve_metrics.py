"""A role that can be scraped: meter, collectors and server around the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from consumers.loop.instrumentation import Meter
from runtime.kafka_client.errors import KafkaError

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry

    from millstream.observability.prometheus.role_metrics import RoleMeter
    from schemas.topics import Names

_AGAIN: Final = 75


@dataclass(frozen=True)
class Address:
    """Where a process is scraped; port 0 takes a free one."""

    host: str
    port: int


@dataclass(frozen=True)
class Scraped:
    """Whose metrics they are, and `state`, the folder where what outlives a process is kept."""

    names: Names
    role: str
    instance: str
    state: Path


def measured(
    address: Address | None, scraped: Scraped, work: Callable[[Meter], int], say: Callable[[str], None] = print
) -> int:
    """Do the work with a meter that is served at `address`, or one that does nothing; return its exit code.

    Raises
    ------
    PortTaken
        Where nothing can be served there; nothing was begun.
    """
    if address is None:
        return work(Meter())
    from millstream.observability.prometheus.exit_counts import Ends
    from millstream.observability.prometheus.http import MetricsServer
    from millstream.observability.prometheus.role_metrics import RoleMeter

    ends = Ends(scraped.state / f"{scraped.role}-{scraped.instance}.ends.json")
    meter = RoleMeter(ends)
    meter.names(scraped.names)
    server = MetricsServer(address.host, address.port, _registry(meter, scraped), meter.stands, meter.unready)
    ends.begin()
    say(f"metrics: {server.url}/metrics, /livez and /readyz")
    code = _AGAIN
    try:
        code = work(meter)
        return code
    except Exception as error:
        code = getattr(error, "exit_code", code if isinstance(error, KafkaError) else 1)
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
    registry.register(RoleCollector(meter, f"{names.prefix}{names.stream}", scraped.role, process))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry
