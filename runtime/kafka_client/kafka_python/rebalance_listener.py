"""Rebalance listener: passes on that the assignment of a group's member changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka import ConsumerRebalanceListener


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reports a changed assignment. It runs on the client's IO thread: anything slow here stops heartbeats."""

    def __init__(self, on_rebalance: Callable[[], object]) -> None:
        self._on_rebalance = on_rebalance

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._on_rebalance()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._on_rebalance()

    def on_partitions_lost(self, lost: Any) -> None:
        self._on_rebalance()
