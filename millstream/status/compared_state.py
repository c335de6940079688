"""State of the comparison of a stream's models: answers by model, share of the events, comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consumers.judge.offset_metadata import JudgeMetadata
from consumers.shadow.offset_metadata import ShadowMetadata, model_counts
from schemas.model_names import name_of

if TYPE_CHECKING:
    from millstream.status.snapshot import StreamSnapshot


@dataclass(frozen=True)
class ComparedState:
    """Counts of the roles that compare models, since they began.

    Attributes
    ----------
    share
        The smallest share of the events that is shadowed now, over all partitions.
    shadows, left_out
        Predictions that were shadowed, and that were not because of the share.
    comparisons
        Shadows that were joined with a label.
    shadows_waiting
        Shadows that wait for a label.
    answers, errors
        Shadow answers by model, and events that it could not answer.
    unasked
        By model, events that came before it had a version that has learned anything.
    """

    share: float
    shadows: int
    left_out: int
    comparisons: int
    shadows_waiting: int
    answers: Mapping[str, int]
    errors: Mapping[str, int]
    unasked: Mapping[str, int]

    def lines(self) -> list[str]:
        """Return the counts in words, first of all models, then of each."""
        share = "" if self.share == 1.0 else f"; a share of {self.share:.3g} of the events is shadowed now"
        total = (
            f"{self.shadows:,} events shadowed, {self.comparisons:,} compared with their label, "
            f"{self.shadows_waiting:,} wait for one{share}"
        )
        return [
            total,
            *(
                f"{model}: {count:,} answers, {self.errors[model]:,} errors{self._not_asked(model)}"
                for model, count in self.answers.items()
            ),
        ]

    def _not_asked(self, model: str) -> str:
        count = self.unasked[model]
        return f"; {count:,} events came before its first version" if count else ""


def compared_state(now: StreamSnapshot) -> ComparedState | None:
    """Return the state of the comparison; `None` until a shadow role has worked."""
    shadows, judged = now.beside(ShadowMetadata), now.beside(JudgeMetadata)
    if not shadows:
        return None
    counts = {name_of(model): of for model, of in sorted(model_counts(shadows).items())}
    return ComparedState(
        share=min(each.share for each in shadows),
        shadows=sum(each.shadowed for each in shadows),
        left_out=sum(each.left_out for each in shadows),
        comparisons=sum(each.seq for each in judged),
        shadows_waiting=sum(each.waiting[0] for each in judged),
        answers={model: of.answers for model, of in counts.items()},
        errors={model: of.errors for model, of in counts.items()},
        unasked={model: of.unasked for model, of in counts.items()},
    )
