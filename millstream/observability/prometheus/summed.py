"""Metrics of several processes in one page: counters are summed, gauges by their meaning."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry

from millstream.observability.prometheus.local_socket import read
from millstream.observability.prometheus.metrics_server import MetricsServer

if TYPE_CHECKING:
    from millstream.observability.prometheus.serve_metrics import Address

_Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
_ADDED: Final = frozenset(
    {"millstream_partitions", "process_resident_memory_bytes", "process_virtual_memory_bytes", "process_open_fds"}
)
_LARGEST: Final = frozenset(
    {
        "millstream_spool_bytes",
        "millstream_last_commit_timestamp_seconds",
        "millstream_lag_records",
        "millstream_lag_seconds",
    }
)
_READY: Final = "millstream_ready"


class Summed(Collector):
    """Collects the metrics of processes that listen at sockets in a folder.

    A counter of a process that is started again begins at 0; what its predecessor had counted stays in the sum. Of a
    gauge, the sum, the largest or the smallest value is shown: the smallest if all must have reached it, such as
    ready, or the version that answers.

    Parameters
    ----------
    folder
        The sockets; each is named after its process.
    processes
        Names of the processes.
    """

    def __init__(self, folder: Path, processes: Sequence[str]) -> None:
        self._folder = folder
        self._processes = processes
        self._last: dict[tuple[str, _Key], float] = {}
        self._before: dict[_Key, float] = {}
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all processes."""
        kinds: dict[str, Metric] = {}
        gauges: dict[str, dict[_Key, list[float]]] = {}
        with self._lock:
            for process in self._processes:
                for family in text_string_to_metric_families(read(self._folder / process) or ""):
                    kinds.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                    for sample in family.samples:
                        key = (sample.name, tuple(sorted(sample.labels.items())))
                        if family.type in ("counter", "histogram"):
                            self._count(process, key, sample.value)
                        else:
                            gauges.setdefault(family.name, {}).setdefault(key, []).append(sample.value)
            totals = dict(self._before)
            for (_, key), value in self._last.items():
                totals[key] = totals.get(key, 0.0) + value
        for name, metric in kinds.items():
            for (sample_name, labels), values in gauges.get(name, {}).items():
                metric.add_sample(sample_name, dict(labels), _one(name, values))
            if metric.type in ("counter", "histogram"):
                for (sample_name, labels), value in totals.items():
                    if sample_name == f"{name}_total" or sample_name.rpartition("_")[0] == name:
                        metric.add_sample(sample_name, dict(labels), value)
            yield metric

    def _count(self, process: str, key: _Key, value: float) -> None:
        last = self._last.get((process, key), 0.0)
        if value < last:
            self._before[key] = self._before.get(key, 0.0) + last
        self._last[process, key] = value

    def unready(self) -> str | None:
        """Return why not all are ready, `None` if they are."""
        for process in self._processes:
            found = read(self._folder / process)
            ready = [
                sample.value
                for family in text_string_to_metric_families(found or "")
                if family.name == _READY
                for sample in family.samples
            ]
            if ready != [1.0]:
                return f"{process} is not ready"
        return None


def _one(name: str, values: Sequence[float]) -> float:
    if name in _ADDED:
        return sum(values)
    return max(values) if name in _LARGEST else min(values)


@contextmanager
def summed(address: Address | None, processes: Sequence[str], say: Callable[[str], None]) -> Iterator[Path | None]:
    """Serve the metrics of these processes at an address; yield the folder for their sockets, `None` without address.

    Raises
    ------
    PortTaken
        If nothing can be served there.
    """
    if address is None:
        yield None
        return
    # Not in the state folder: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="millstream-") as made:
        folder = Path(made)
        collector = Summed(folder, processes)
        registry = CollectorRegistry()
        registry.register(collector)
        server = MetricsServer(address.host, address.port, registry, lambda: None, collector.unready)
        say(f"metrics: {server.url}/metrics, /livez and /readyz, summed over {len(processes)} processes")
        try:
            yield folder
        finally:
            server.close()
