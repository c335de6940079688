"""Processor time of roles that have nothing to do."""

from __future__ import annotations

import time
from typing import Final

from benchmarks.figures import Figure, Spread
from benchmarks.rig import Process, Rig
from benchmarks.throughput import Size, publish_untrained
from runtime.kafka_client.library_names import PACKAGES

_ROLES: Final = ("predictor", "joiner", "learner", "monitor")
_SETTLING_S: Final = 6.0  # a role polls quickly for some seconds after its last record


def idle(rig: Rig, size: Size) -> list[Figure]:
    """Measure each role alone, on topics without records, from its start on and once it has settled."""
    return [_role(rig, size, role, client) for role in _ROLES for client in PACKAGES]


def _role(rig: Rig, size: Size, role: str, client: str) -> Figure:
    names = rig.names(f"idle-{role}-{client}")
    if role == "predictor":
        publish_untrained(rig, names)
    process = rig.role(role, names, client=client)
    try:
        process.until_ready()
        time.sleep(_SETTLING_S)
        shares = [_share(process, size.seconds) for _ in range(size.rounds)]
    finally:
        process.end()
    return Figure(
        f"idle-{role}-{client}",
        f"processor time of an idle {role} (LR), {client}, % of one core",
        Spread(tuple(100 * share for share in shares)),
        "%",
        "at most",
        1,
        {"measured for, s": Spread((size.seconds,))},
    )


def _share(process: Process, seconds: float) -> float:
    """Return processor seconds a second, of all threads, user and system."""
    began, before = time.monotonic(), process.stats.cpu_times()
    time.sleep(seconds)
    process.require()
    after = process.stats.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began)
