"""Downstream metrics: values by name of what is done with the answers, such as orders or complaints."""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from schemas import codec
from schemas.codec import CodecError

NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]{0,63}")
MOST_NAMES: Final = 200
"""Most metrics of a window; values of further names are counted as errors."""


class Metric(msgspec.Struct, frozen=True, gc=False):
    """One value of a metric. `time` is in ms since 1970, UTC, as the sender said."""

    name: str
    value: float
    time: int

    def encode(self) -> bytes:
        """Return header and body. Raises CodecError if a value does not fit the schema."""
        return codec.METRIC.encode(msgspec.structs.asdict(self))


def read_metric(data: bytes) -> Metric:
    """Read a record of the metrics topic. Raises CodecError if it is not one, or its value is not finite."""
    found = Metric(**codec.METRIC.decode(data))
    if not math.isfinite(found.value):
        raise CodecError(f"a metric's value is {found.value}; it must be finite")
    return found
