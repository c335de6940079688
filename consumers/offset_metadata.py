"""What any role has written beside its offsets, for who looks at all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from consumers.intake.offset_metadata import IntakeMetadata
from consumers.joiner.offset_metadata import JoinerMetadata
from consumers.learner.offset_metadata import LearnerMetadata
from consumers.loop.offset_metadata import OffsetMetadata
from consumers.predictor.offset_metadata import PredictorMetadata

_KINDS: Final[Mapping[str, type[OffsetMetadata]]] = {
    kind.role: kind for kind in (PredictorMetadata, IntakeMetadata, JoinerMetadata, LearnerMetadata)
}


def kind_of(role: str) -> type[OffsetMetadata]:
    """Return what a role's metadata is; of one that has nothing to say, the base."""
    return _KINDS.get(role, OffsetMetadata)


def read(role: str, text: str) -> OffsetMetadata | None:
    """Return what a role's text says, `None` where it is none of the role's."""
    return kind_of(role).decode(text)
