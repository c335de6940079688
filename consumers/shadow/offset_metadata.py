"""Offset metadata of a shadow role: its topic, the share in force, and what it has counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from msgspec import field

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import SHADOW
from schemas.model_names import is_named


@decodable
class ShadowMetadata(OffsetMetadata):
    """Metadata of a shadow role; `topic_id`, `gone` and `begun` as in `consumers.loop.start_offsets`.

    Attributes
    ----------
    halved
        How often the share of the events is halved in this partition, from this offset on.
    share
        Share of the events that is shadowed from this offset on.
    shadowed
        Number of predictions that were shadowed.
    left_out
        Number of predictions that were not chosen, because of the share.
    unreadable
        Number of records that are no predictions; the joiner writes the dead letters of them.
    models
        By model id, the number of its answers, and of its errors. It has all named models of the stream file.
    unsliced
        Number of events and slices in which the event has no value.
    alerts
        Names of the raised alerts.
    """

    role: ClassVar[str] = SHADOW
    counted: ClassVar[bool] = True

    topic_id: str = field(default="", name="t")
    gone: int = 0
    begun: int = 0
    halved: int = 0
    share: float = 1.0
    shadowed: int = 0
    left_out: int = 0
    unreadable: int = 0
    models: dict[str, tuple[int, int]] = field(default_factory=dict)
    unsliced: int = 0
    alerts: list[str] = field(default_factory=list)

    def done(self) -> int:
        """Return how many shadows were written."""
        return self.shadowed

    def keep(self, models: Iterable[str]) -> None:
        """Forget the counts of all other models, and have an entry for each named one from now on."""
        counts = self.models
        self.models = {of: counts.get(of, (0, 0)) for of in models if of in counts or is_named(of)}

    def note(self, model: str, answers: int, errors: int) -> None:
        """Count answers and errors of a model."""
        before = self.models.get(model, (0, 0))
        self.models[model] = before[0] + answers, before[1] + errors


def model_counts(notes: Iterable[ShadowMetadata]) -> dict[str, tuple[int, int]]:
    """Return, by model id, the number of answers and of errors in all partitions."""
    found: dict[str, tuple[int, int]] = {}
    for note in notes:
        for model, (answers, errors) in note.models.items():
            before = found.get(model, (0, 0))
            found[model] = before[0] + answers, before[1] + errors
    return found
