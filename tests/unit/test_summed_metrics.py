"""Metrics of several processes at one port: sums that survive a restart, and gauges by their meaning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from millstream.observability.prometheus.local_socket import LocalSocket
from millstream.observability.prometheus.serve_metrics import Address
from millstream.observability.prometheus.summed import Summed, summed


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="ms-") as made:  # shorter than tmp_path: a socket's path is at most 107 bytes
        yield Path(made)


def process(folder: Path, name: str, answered: int, ready: int, spool: int) -> LocalSocket:
    registry = CollectorRegistry()
    counted = Counter("answered", "Answers.", ["status"], registry=registry)
    counted.labels("200").inc(answered)
    Histogram("took_seconds", "Time.", registry=registry, buckets=(1.0,)).observe(0.5)
    Gauge("millstream_ready", "Ready.", registry=registry).set(ready)
    Gauge("millstream_spool_bytes", "Spool.", registry=registry).set(spool)
    Gauge("process_open_fds", "Open.", registry=registry).set(10)
    return LocalSocket(folder / name, registry)


def values(collector: Summed) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric in collector.collect():
        for sample in metric.samples:
            found[sample.name + "".join(f",{value}" for value in sample.labels.values())] = sample.value
    return found


def test_counters_are_summed_also_over_a_restart_and_gauges_by_their_meaning(folder: Path) -> None:
    first, second = process(folder, "a", 5, 1, 70), process(folder, "b", 7, 0, 70)
    collector = Summed(folder, ["a", "b"])
    found = values(collector)
    assert found["answered_total,200"] == 12
    assert found["took_seconds_bucket,1.0"] == found["took_seconds_count"] == 2
    assert found["took_seconds_sum"] == 1.0
    assert (found["millstream_ready"], found["millstream_spool_bytes"], found["process_open_fds"]) == (0, 70, 20)
    assert collector.unready() == "b is not ready"
    second.close()
    assert values(collector)["answered_total,200"] == 12, "the numbers of a process that has ended stay"
    second = process(folder, "b", 2, 1, 80)
    found = values(collector)
    assert (found["answered_total,200"], found["millstream_ready"]) == (14, 1)
    assert collector.unready() is None
    first.close()
    second.close()
    assert collector.unready() == "a is not ready"


def test_one_page_for_all(folder: Path) -> None:
    said: list[str] = []
    with summed(Address("127.0.0.1", 0), ["a", "b"], said.append) as sockets:
        assert sockets is not None
        url = said[0].split()[1].removesuffix("/metrics,")
        made = [process(sockets, name, 3, 1, 0) for name in ("a", "b")]
        text = httpx.get(f"{url}/metrics").text
        assert 'answered_total{status="200"} 6.0' in text
        assert "# TYPE answered_total counter" in text
        assert httpx.get(f"{url}/readyz").status_code == 200
        made[0].close()
        unready = httpx.get(f"{url}/readyz")
        assert (unready.status_code, unready.text) == (503, "a is not ready\n")
        made[1].close()
    with summed(None, ["a"], said.append) as nothing:
        assert nothing is None
