"""State of the contest of a stream's models, from the referee's offset metadata."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.referee.contest import Standing
from consumers.referee.offset_metadata import RefereeMetadata

if TYPE_CHECKING:
    from millstream.status.snapshot import StreamSnapshot


@dataclass(frozen=True)
class ContestState:
    """How the challengers stand against the serving model.

    Attributes
    ----------
    champion
        Name of the serving model.
    needed, at_least
        Number of labelled events, and lower bound of the mean difference, that the rule asks for.
    waiting
        Number of labels that have not settled.
    would
        The challenger that the rule would promote if no version were pinned; empty if there is none.
    promoted, returned
        Number of decisions of the rule, and of the guard.
    """

    champion: str
    needed: int
    at_least: float
    waiting: int
    would: str
    promoted: int
    returned: int
    standings: Sequence[Standing]

    def lines(self) -> list[str]:
        """Return the contest in words: the whole, then each challenger with what it lacks."""
        decisions = f"promoted by the rule {self.promoted:,}, taken back by the guard {self.returned:,}"
        whole = f"{self.champion} serves; {decisions}; {self.waiting:,} labels have not settled"
        return [whole, *(self._line(each) for each in self.standings)]

    def _line(self, each: Standing) -> str:
        if each.mean is None or each.low is None or each.high is None:
            return f"{each.model}: no labelled event counts yet"
        loss = f"{each.model}: mean loss {each.challenger_loss:.4g} instead of {each.champion_loss:.4g}"
        return (
            f"{loss}, {each.mean:.4g} lower ({each.low:.4g} to {each.high:.4g}), {each.labels:,} labelled events, "
            + (self._lacks(each))
        )

    def _lacks(self, each: Standing) -> str:
        if each.model == self.would:
            return "would be promoted, but a version is pinned"
        if each.barred:
            return f"epoch {each.epoch} was taken back and is not promoted again"
        if each.labels < self.needed:
            return f"lacks {self.needed - each.labels:,} more"
        return f"lacks a lower bound above {self.at_least:g}"


def contest_state(now: StreamSnapshot) -> ContestState | None:
    """Return the state of the contest; `None` until a referee has worked."""
    told = next(iter(now.beside(RefereeMetadata)), None)
    if told is None or not told.champion:
        return None
    return ContestState(
        champion=told.champion,
        needed=told.needed,
        at_least=told.at_least,
        waiting=told.waiting,
        would=told.would,
        promoted=told.promoted,
        returned=told.returned,
        standings=tuple(told.standings),
    )
