"""Reader of any role's offset metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from consumers.intake.offset_metadata import IntakeMetadata
from consumers.joiner.offset_metadata import JoinerMetadata
from consumers.judge.offset_metadata import JudgeMetadata
from consumers.learner.offset_metadata import LearnerMetadata
from consumers.loop.offset_metadata import OffsetMetadata
from consumers.monitor.offset_metadata import MonitorMetadata
from consumers.notifier.offset_metadata import NotifierMetadata
from consumers.predictor.offset_metadata import PredictorMetadata
from consumers.referee.offset_metadata import RefereeMetadata
from consumers.roles import kind_of_role
from consumers.shadow.offset_metadata import ShadowMetadata
from consumers.trainer.offset_metadata import TrainerMetadata

_KINDS: Final[Mapping[str, type[OffsetMetadata]]] = {
    kind.role: kind
    for kind in (
        PredictorMetadata,
        IntakeMetadata,
        JoinerMetadata,
        LearnerMetadata,
        ShadowMetadata,
        JudgeMetadata,
        RefereeMetadata,
        TrainerMetadata,
        NotifierMetadata,
        MonitorMetadata,
    )
}


def kind_of(role: str) -> type[OffsetMetadata]:
    """Return the metadata class of a role; the base class for a role without fields."""
    return _KINDS.get(kind_of_role(role), OffsetMetadata)


def read(role: str, text: str) -> OffsetMetadata | None:
    """Return the metadata in a text, `None` if the role did not write it."""
    return kind_of(role).decode(text)
