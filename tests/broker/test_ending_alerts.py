"""Alerts of roles that keep ending, or cannot write their files: raised once, cleared when the role works."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from millstream.processes import role_failure_alerts
from millstream.processes.log_fault_alerts import LogAlerts
from millstream.processes.role_failure_alerts import EndingAlerts, StateAlerts
from millstream.processes.supervisor import Child
from millstream.status.snapshot import Observer
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

SECONDS = 20.0


def standing(cluster: Cluster, names: Names) -> dict[str, str]:
    with Observer(cluster, names) as observer:
        return {alert.name: alert.message for alert in observer.look().alerts}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_role_that_keeps_ending_or_cannot_write_has_alerts_until_it_works(
    cluster: Cluster, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(role_failure_alerts, "WORKS_S", 0.1)
    admin.create(cluster, names, partitions=1, label_wait_ms=1)
    said: list[str] = []
    for times in (6, 7):
        EndingAlerts(cluster, names, said.append).keeps_ending(Child("predictor", "0", ()), times, "no disk")
        until(lambda: "predictor.0.ends" in standing(cluster, names))
    assert standing(cluster, names)["predictor.0.ends"].startswith(
        "predictor-0 has ended 6 times in a row: no disk. It is"
    )
    kept = StateAlerts(LogAlerts(cluster, names, "predictor", said.append), "predictor", "0", said.append)
    path = Path("/home/predictor-0.json")
    for _ in range(2):
        kept.written(path, OSError(28, "No space left on device"))
    until(lambda: "predictor.0.disk" in standing(cluster, names))
    assert len([line for line in said if line.startswith(f"{path} cannot be written: No space left")]) == 1
    kept.works_soon()
    time.sleep(0.3)
    assert len(standing(cluster, names)) == 2, "it does not work while its file cannot be written"
    kept.written(path, None)
    until(lambda: not standing(cluster, names))
    assert f"{path} is written again" in said
    kept.stop()
