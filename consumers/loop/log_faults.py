"""Faults of a topic that arose while the role that reads it was down, and their messages.

A role never continues by itself if the log is not the one that it left: that would be an unnoticed jump.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from consumers import roles
from runtime.exits import RoleRefused

State = Literal["overtaken", "truncated", "recreated", "forgotten"]
_LONGEST_TOPIC: Final = 30  # of an alert's name, which has 64


@dataclass(frozen=True)
class LogFault:
    """Reason why a role cannot continue at its offset in a partition.

    Attributes
    ----------
    state
        ``overtaken``: the log begins after the offset. ``truncated``: it ends before the offset. ``recreated``: it is
        another topic of the same name. ``forgotten``: the same topic, but Kafka no longer knows the offset.
    place
        The next offset that the role would read; `None` if Kafka deleted it with the topic. If Kafka lost only the
        offset: the one in this machine's file.
    beginning, end
        First offset and end of the log now.
    """

    role: str
    state: State
    topic: str
    partition: int
    place: int | None
    beginning: int
    end: int

    @property
    def gone(self) -> int:
        """Number of offsets in between: records and transaction markers."""
        if self.place is None or self.state == "recreated":
            return 0
        return self.place - self.end if self.state == "truncated" else max(0, self.beginning - self.place)

    @property
    def onward(self) -> int:
        """Return the offset at which a role without state continues when the operator tells it to."""
        if self.place is None or self.state == "recreated":
            return self.beginning
        return min(max(self.place, self.beginning), self.end)

    @property
    def name(self) -> str:
        """Return the name of its alert."""
        return alert_name(self.role, self.topic, self.partition)

    def __str__(self) -> str:
        where = f"{self.topic}[{self.partition}]"
        if self.state == "recreated":
            return f"{where} is another topic than the one that the {self.role} read: it was deleted and made again"
        if self.state == "forgotten":
            return (
                f"Kafka has forgotten the place of the {self.role} in {where}; by what is written down here it was "
                f"{self.place}. A group that has had no members for offsets.retention.minutes (7 days) loses its "
                f"places; from the beginning everything would be {roles.named(self.role).done} again"
            )
        if self.state == "overtaken":
            return (
                f"retention has overtaken the {self.role}, or records were deleted: {where} begins at "
                f"{self.beginning}, after its place {self.place}; the {self.gone} offsets between were never read"
            )
        return (
            f"{where} was truncated: it ends at {self.end}, before the place {self.place} of the {self.role}; "
            f"the {self.gone} offsets between were read and are gone"
        )


def alert_name(role: str, topic: str, partition: int) -> str:
    """Return the name of the alert for a role's fault in a partition.

    For the stream's own topic, the part after the last dot is enough. External topics, which an intake reads, can have
    equal last parts, and their whole names can be too long for an alert's name.

    >>> alert_name("joiner", "fraud.labels", 3), alert_name("intake", "team.chargebacks", 0)
    ('joiner.labels-3.log', 'intake.team.chargebacks-0.log')
    """
    short = topic if roles.named(role).reads_label_topics else topic.rpartition(".")[2]
    if len(short) > _LONGEST_TOPIC:
        short = f"{short[:_LONGEST_TOPIC]}~{hashlib.sha256(topic.encode()).hexdigest()[:8]}"
    return f"{role}.{short}-{partition}.log"


def way(role: str, stream: str = "STREAM") -> str:
    """Return the command that makes the role continue."""
    return roles.named(role).onward.format(stream=stream)


def fault_of(role: str, at: tuple[str, int], place: int, beginning: int, end: int) -> LogFault | None:
    """Return the fault of an offset in a log of the same topic, `None` if there is none.

    >>> print(fault_of("learner", ("s.examples", 0), place=1200, beginning=5000, end=9000).gone)
    3800
    """
    if place < beginning:
        return LogFault(role, "overtaken", *at, place, beginning, end)
    if place > end:
        return LogFault(role, "truncated", *at, place, beginning, end)
    return None


class LogRefused(RoleRefused):
    """The log is not the one that the role left; the role has read nothing.

    Attributes
    ----------
    faults
        One for each affected partition.
    """

    def __init__(self, faults: Sequence[LogFault], ways: str, text: str | None = None) -> None:
        super().__init__(f"{text or '; '.join(map(str, faults))}. {ways}")
        self.faults = tuple(faults)


def short_ids(*topic_ids: str) -> str:
    """Return a short hash of topic ids for the offset metadata, whose size is limited."""
    return hashlib.sha256(" ".join(topic_ids).encode()).hexdigest()[:16]
