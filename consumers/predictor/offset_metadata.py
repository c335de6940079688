"""What a predictor writes beside its offsets: the topic that it reads, and the version that answers."""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET, UnsetType, field

from consumers.loop.offset_metadata import OffsetMetadata, decodable
from consumers.roles import PREDICTOR


@decodable
class PredictorMetadata(OffsetMetadata):
    """See the module's text; `topic_id`, `gone` and `begun` as in `consumers.loop.start_offsets`.

    Attributes
    ----------
    version, since_ms, delay_ms, model
        Of the version that answers, `epoch/examples`, and the rest as in `ServedVersion`. Only `version`, as `None`, is
        written before there is one.
    spread
        Event ids are spread over so many partitions: joiners and later predictors go by it, too; 0 in what was written
        before that was noted.
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
