"""What can have happened to a topic while a role that reads it was down, and what is said of it.

A role never goes on by itself where the log is not the one that it left: it would be a jump that nobody sees.
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
    """Why a role cannot go on at its place in a partition.

    Attributes
    ----------
    state
        ``overtaken``: the log begins after the place. ``truncated``: it ends before it. ``recreated``: it is another
        topic of the same name. ``forgotten``: the same topic, and Kafka no longer knows the place.
    place
        The next offset that the role would read; `None` where Kafka has forgotten it with the topic. Where it has
        forgotten the place alone: what this machine has written down.
    beginning, end
        Of the log as it is now.
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
        """How many offsets lie in between: records, and marks of transactions."""
        if self.place is None or self.state == "recreated":
            return 0
        return self.place - self.end if self.state == "truncated" else max(0, self.beginning - self.place)

    @property
    def onward(self) -> int:
        """Return the offset at which a role without state of its own goes on when it is told to."""
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
                f"places; from the beginning everything would be {roles.named(self.role).done} once more"
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
    """Return the name of the alert of what a role found in a partition.

    Of a topic of the stream's what stands behind its last dot is enough. Topics of others, that an intake reads, may
    be alike there, and are too long for a name.

    >>> alert_name("joiner", "fraud.labels", 3), alert_name("intake", "team.chargebacks", 0)
    ('joiner.labels-3.log', 'intake.team.chargebacks-0.log')
    """
    short = topic if roles.named(role).reads_label_topics else topic.rpartition(".")[2]
    if len(short) > _LONGEST_TOPIC:
        short = f"{short[:_LONGEST_TOPIC]}~{hashlib.sha256(topic.encode()).hexdigest()[:8]}"
    return f"{role}.{short}-{partition}.log"


def way(role: str, stream: str = "STREAM") -> str:
    """Return the command that goes on."""
    return roles.named(role).onward.format(stream=stream)


def fault_of(role: str, at: tuple[str, int], place: int, beginning: int, end: int) -> LogFault | None:
    """Return what is wrong with a place in a log of the same topic, `None` where nothing is.

    >>> print(fault_of("learner", ("s.examples", 0), place=1200, beginning=5000, end=9000).gone)
    3800
    """
    if place < beginning:
        return LogFault(role, "overtaken", *at, place, beginning, end)
    if place > end:
        return LogFault(role, "truncated", *at, place, beginning, end)
    return None


class LogRefused(RoleRefused):
    """The log is not the one that the role left; nothing was read.

    Attributes
    ----------
    faults
        One for each partition of which it is so.
    """

    def __init__(self, faults: Sequence[LogFault], ways: str, text: str | None = None) -> None:
        super().__init__(f"{text or '; '.join(map(str, faults))}. {ways}")
        self.faults = tuple(faults)


def short_ids(*topic_ids: str) -> str:
    """Return what stands for the ids of topics beside an offset, where there is little room."""
    return hashlib.sha256(" ".join(topic_ids).encode()).hexdigest()[:16]
