"""Standby learner, which waits while another member has the log's partition."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions


class StandbyLearner:
    """Learns nothing, sends nothing and commits nothing, even if it has other partitions of the topic."""

    def process(self, batch: Batch) -> list[Output]:
        return []

    def tick(self, now_ms: int) -> list[Output]:
        return []

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        return {}

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        """Do nothing: a standby learner commits nothing."""

    def paused(self) -> frozenset[Partition]:
        return frozenset()

    def stopping(self) -> list[Output]:
        return []
