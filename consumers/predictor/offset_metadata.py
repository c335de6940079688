"""Offset metadata of a predictor: the topic that it reads, and the version that it serves."""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET, UnsetType, field

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import PREDICTOR


@decodable
class PredictorMetadata(OffsetMetadata):
    """Metadata of a predictor; `topic_id`, `gone` and `begun` as in `consumers.loop.start_offsets`.

    Attributes
    ----------
    version, since_ms, delay_ms, model
        The served version, `epoch/examples`, and the rest as in `ServedVersion`. Before there is a version, only
        `version` is written, as `None`.
    spread
        Number of partitions that event ids are spread over, which joiners and later predictors also use; 0 in metadata
        older than this field.
    """

    role: ClassVar[str] = PREDICTOR

    version: str | None = field(default=None, name="v")
    since_ms: int | UnsetType = field(default=UNSET, name="at")
    delay_ms: int | UnsetType | None = field(default=UNSET, name="delay")
    model: str | UnsetType = field(default=UNSET, name="m")
    topic_id: str = field(default="", name="t")
    gone: int = 0
    begun: int = 0
    spread: int = 0
