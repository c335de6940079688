"""Encoding of examples: the prediction's bytes, then label, lane, offsets and times.

The bytes equal those of the Avro library. The parts that all examples of a lane share are encoded once.
"""

from __future__ import annotations

from typing import Final

from consumers.joiner.join_state import Emitted
from schemas import codec
from schemas.codec import HEADER_BYTES, long

_NULL: Final = b"\x00"
_RECORD: Final = b"\x02"  # the second branch of a union with null


class ExampleWriter:
    """Encodes the examples of one lane.

    Parameters
    ----------
    partition
        The partition of predictions and labels, whose number is also the lane's name.
    epoch
        The lane's epoch.
    header
        First bytes of the records: a comparison has the same fields behind a shadow's.
    """

    def __init__(self, partition: int, epoch: str, header: bytes = codec.EXAMPLE.header) -> None:
        self._header = header
        self._lane = codec.string(str(partition)) + codec.string(epoch)
        self._joined = _RECORD + long(partition)

    def write(self, emitted: Emitted, sequence: int) -> bytes:
        """Return the encoded Example with this sequence number."""
        return b"".join(
            (
                self._header,
                emitted.prediction[HEADER_BYTES:],
                _NULL if emitted.label is None else _RECORD + emitted.label.body,
                self._lane,
                long(sequence),
                self._joined,
                long(emitted.prediction_offset),
                long(emitted.prediction_time),
                long(emitted.label_offset),
                long(emitted.label_time),
            )
        )
