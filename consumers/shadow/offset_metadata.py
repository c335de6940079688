"""Offset metadata of a shadow role: its topic, the share in force, and what it has counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from msgspec import field

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import SHADOW
from schemas.comparisons import NO_VERSION, Challenger, is_unready
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
    unasked
        By model id, the number of events for which it had no version yet, or one that has learned nothing: no errors.
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
    unasked: dict[str, int] = field(default_factory=dict)

    def done(self) -> int:
        """Return how many shadows were written."""
        return self.shadowed

    def keep(self, models: Iterable[str]) -> None:
        """Forget the counts of all other models, and have an entry for each named one from now on."""
        counts = self.models
        self.models = {of: counts.get(of, (0, 0)) for of in models if of in counts or is_named(of)}
        self.unasked = {of: self.unasked[of] for of in models if of in self.unasked}

    def note(self, answer: Challenger) -> None:
        """Count what a model has given for an event."""
        model = answer.model
        answers, errors = self.models.get(model, (0, 0))
        if answer.error == NO_VERSION or is_unready(answer):
            self.unasked[model] = self.unasked.get(model, 0) + 1
        elif answer.error is None:
            answers += 1
        else:
            errors += 1
        self.models[model] = answers, errors


class ModelCounts(NamedTuple):
    """Number of events that a model has answered, failed on, and could not be asked for yet."""

    answers: int = 0
    errors: int = 0
    unasked: int = 0


def model_counts(notes: Iterable[ShadowMetadata]) -> dict[str, ModelCounts]:
    """Return the counts of each model in all partitions, by model id."""
    found: dict[str, ModelCounts] = {}
    for note in notes:
        for model, (answers, errors) in note.models.items():
            before = found.get(model, ModelCounts())
            unasked = before.unasked + note.unasked.get(model, 0)
            found[model] = ModelCounts(before.answers + answers, before.errors + errors, unasked)
    return found
