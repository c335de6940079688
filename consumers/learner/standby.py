"""A learner on standby: the partition of the log is another member's, and it waits for its turn."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions


class StandbyLearner:
    """Learns nothing, sends nothing and commits nothing, whatever else of the topic it was given."""

    def process(self, batch: Batch) -> list[Output]:
        return []

    def tick(self, now_ms: int) -> list[Output]:
        return []

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        return {}

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        """Nothing was."""

    def paused(self) -> frozenset[Partition]:
        return frozenset()

    def stopping(self) -> list[Output]:
        return []
