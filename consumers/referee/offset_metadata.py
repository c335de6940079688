"""Offset metadata of a referee: its contest, its last decision, and how the challengers stand."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.referee.contest import Standing
from consumers.referee.settling import Begun
from consumers.roles import REFEREE


class Decided(msgspec.Struct, frozen=True, array_like=True):
    """The last decision of this referee: a promotion by the rule, or a return by the guard.

    Attributes
    ----------
    follows
        `decision_hash` of the person's decision that it follows.
    """

    model: str
    before: str
    by: Literal["rule", "guard"]
    follows: str


@decodable
class RefereeMetadata(OffsetMetadata):
    """Metadata of the referee's committed offset; `topic_id`, `gone` and `begun` as in `consumers.loop.start_offsets`.

    Models are named as among the stream's models, because Kafka takes 4,096 characters.

    Attributes
    ----------
    contest_of
        Hash of the rule and the champion; a contest goes on after a restart only if it is the same.
    contest, guard
        Where the contest and the guard began, `None` before their first event.
    epochs
        Epoch of each model in the contest.
    decided
        The last decision, `None` if there was none.
    barred
        Epochs up to which the rule does not promote a model, because the guard took serving from it, or a person rolled
        its promotion back.
    champion
        The serving model.
    pinned
        True while a person has pinned a version: the referee then decides nothing.
    would
        The challenger that the rule would promote.
    needed, at_least
        Number of labelled events, and lower bound of the mean difference, that the rule asks for.
    waiting
        Number of labels that have not settled.
    promoted, returned
        Number of decisions of the rule, and of the guard.
    promoted_epoch
        Epoch of the model that the rule promoted last.
    alerts
        Names of the raised alerts.
    """

    role: ClassVar[str] = REFEREE

    topic_id: str = msgspec.field(default="", name="t")
    gone: int = 0
    begun: int = 0
    contest_of: str = msgspec.field(default="", name="of")
    contest: Begun | None = None
    guard: Begun | None = None
    epochs: dict[str, int] = msgspec.field(default_factory=dict)
    decided: Decided | None = None
    barred: dict[str, int] = msgspec.field(default_factory=dict)
    champion: str = ""
    pinned: bool = False
    would: str = ""
    needed: int = 0
    at_least: float = 0.0
    standings: list[Standing] = msgspec.field(default_factory=list)
    waiting: int = 0
    promoted: int = 0
    returned: int = 0
    promoted_epoch: int = -1
    alerts: list[str] = msgspec.field(default_factory=list)
