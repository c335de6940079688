"""Offset metadata of a judge: that of a joiner, of which it is the code."""

from __future__ import annotations

from typing import ClassVar

from consumers.joiner.offset_metadata import JoinMetadata
from consumers.loop.offset_metadata import decodable
from consumers.roles import JUDGE


@decodable
class JudgeMetadata(JoinMetadata):
    """The metadata of the committed offsets on shadows and labels; `seq` counts comparisons."""

    role: ClassVar[str] = JUDGE
