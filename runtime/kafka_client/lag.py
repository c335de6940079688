"""Lag of a consumer's partitions, as its fetches report it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from runtime.kafka_client.client import GroupConsumer
from runtime.kafka_client.errors import KafkaError
from runtime.kafka_client.records import Partition, Positions

_EVERY_SECONDS: Final = 1.0
_ASK_SECONDS: Final = 5.0


class LagWatch:
    """Measures lag at intervals; costs nothing in between.

    Parameters
    ----------
    request_ms
        Time limit for the broker's answer about paused partitions.
    """

    def __init__(self, request_ms: int) -> None:
        self._request_ms = request_ms
        self._due = self._due_to_ask = 0.0
        self._told: dict[Partition, int | None] = {}

    def begin(self) -> None:
        """Measure at the next turn, because the partitions have changed."""
        self._due = self._due_to_ask = 0.0
        self._told = {}

    def look(self, consumer: GroupConsumer, read: Positions) -> Mapping[Partition, int] | None:
        """Return the number of unread offsets of each partition; `None` until the next measurement is due."""
        if (now := time.monotonic()) < self._due:
            return None
        self._due = now + _EVERY_SECONDS
        ends = {place: consumer.highwater(place) for place in read}
        # A paused partition is not fetched, so fetches do not report its end.
        if still := [place for place in read if place in consumer.paused()]:
            if now >= self._due_to_ask:
                self._due_to_ask = now + _ASK_SECONDS
                self._told = self._ask(consumer, still)
            ends |= {place: end for place, end in self._told.items() if place in still}
        return {place: max(0, end - read[place]) for place, end in ends.items() if end is not None}

    def _ask(self, consumer: GroupConsumer, places: list[Partition]) -> dict[Partition, int | None]:
        """Return the partitions' lag, `None` if the broker does not answer: the next transaction will report that."""
        try:
            return {**consumer.end_offsets(places, timeout_ms=self._request_ms)}
        except KafkaError:
            return dict.fromkeys(places, None)
