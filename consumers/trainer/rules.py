"""Rules of the trainer for a batch model: schedule, alerts, limits, deployment."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

Deploy: TypeAlias = Literal["by-hand", "shadow", "if-better"]


@dataclass(frozen=True)
class BatchRules:
    """When a model is trained, and what becomes of it. Times in ms.

    Attributes
    ----------
    every_ms, at_ms
        Length of a slot, 0 without a schedule; and by how much a slot begins after a multiple of it since 1970 (UTC).
    retrain_on
        Names of alerts that ask for a job when they are raised.
    not_more_than_ms
        Least distance of two jobs that alerts ask for.
    longest_ms
        Time after which a run is ended, and has failed.
    warm_start
        True to go on from the model's newest version.
    """

    model: str
    every_ms: int = 0
    at_ms: int = 0
    retrain_on: Collection[str] = ()
    not_more_than_ms: int = 3_600_000
    longest_ms: int = 21_600_000
    deploy: Deploy = "shadow"
    warm_start: bool = False

    def slot(self, now_ms: int) -> int:
        """Return the beginning (ms) of the slot that a time is in; 0 without a schedule.

        >>> day = 86_400_000
        >>> BatchRules("gbdt", every_ms=day, at_ms=7_200_000).slot(3 * day + 7_199_999) // day
        2
        """
        return (now_ms - self.at_ms) // self.every_ms * self.every_ms + self.at_ms if self.every_ms else 0


def slot_id(model: str, slot_ms: int) -> str:
    """Return the id of a scheduled job: asked twice, it is one job.

    >>> slot_id("gbdt", 1_782_871_200_000)
    'gbdt.2026-07-01T02:00:00Z'
    """
    return f"{model}.{datetime.fromtimestamp(slot_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def alert_id(model: str, topic_id: str, offset: int) -> str:
    """Return the id of the job that an alert asks for: the alert's offset, in this topic of that name.

    >>> alert_id("gbdt", "0a1b2c3d4e5f", 17)
    'gbdt.alert-0a1b2c-17'
    """
    return f"{model}.alert-{topic_id[:6]}-{offset}"
