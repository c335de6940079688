"""Mapping of an external message to the values of downstream metrics."""

from __future__ import annotations

import math

from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.sources.event_mapping import Decode, feature_reader
from schemas.sources.message_fields import Unmapped
from schemas.sources.metrics import NAME
from schemas.sources.source import InvalidSource, Source


class MetricMapping:
    """Maps the messages of one source to values by the name of the metric.

    Parameters
    ----------
    decode
        Decodes a message's bytes and headers to plain values; raises CodecError.

    Raises
    ------
    InvalidPath
        If a path of the source is invalid.
    """

    def __init__(self, source: Source, decode: Decode) -> None:
        self._decode = decode
        self._read = feature_reader(source)

    def values(self, record: Record) -> dict[str, float]:
        """Return the finite numbers of a message by name; True counts as 1, and what is no number has no value.

        Raises
        ------
        CodecError
            If the message cannot be mapped.
        """
        if not record.value:
            return {}  # a tombstone on a compacted topic
        try:
            found = self._read(self._decode(record.value, record.headers))
        except Unmapped as error:
            raise CodecError(str(error)) from error
        numbers = {name: float(value) for name, value in found.items() if isinstance(value, (bool, int, float))}
        return {name: value for name, value in numbers.items() if math.isfinite(value) and NAME.fullmatch(name)}


def check_metrics(source: Source) -> None:
    """Raise InvalidSource unless metrics can be read from the source."""
    if source.contract or source.value is not None or source.weight is not None or source.ids or source.time:
        raise InvalidSource(
            f"Source of metrics on {source.topic}: id=, time=, contract=, value= and weight= are of events and labels; "
            "metrics are named by fields={'orders': 'order.total'}, or all numbers of the message"
        )
    for name in source.fields:
        if not NAME.fullmatch(name):
            raise InvalidSource(
                f"Source of metrics on {source.topic}: fields[{name!r:.60}] must be named with 1 to 64 of a-z, A-Z, "
                "0-9, '_', '.' and '-', beginning with a letter"
            )
