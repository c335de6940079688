"""Quick reading of the records of a batch, in place of the client's own iteration.

The client makes two calls for a record, and one for each of its seven numbers: 3.9 µs, and 1.8 µs here. Almost all
numbers take one or two bytes, which are read directly. A record with headers or larger numbers is left to the client,
and so is a damaged one: its errors stay the client's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from kafka.record.default_records import DefaultRecordBatch

_NOT_FOR_HERE: Final = ~0x3FFE
"""Bits of a number that takes more than two bytes, or is negative: the lowest bit is the sign."""
_new: Final = tuple.__new__  # builds a NamedTuple in half the time


class QuickRecord(NamedTuple):
    """A record with the fields and the checks that the client's fetcher asks for."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes | None]]
    size_in_bytes: int

    @property
    def checksum(self) -> None:
        """Return `None`: the checksum is the batch's."""

    def validate_crc(self) -> bool:
        """Return true, as the client's own record does: the batch was checked."""
        return True


by_client: Final = DefaultRecordBatch.__iter__
"""The client's own iteration."""


def records_of(batch: Any) -> Iterator[Any]:
    """Yield the records of a `DefaultRecordBatch`. Raises what the client's own iteration raises."""
    batch._maybe_uncompress()
    buffer, header = batch._buffer, batch._header_data
    base_offset, kind = header[0], batch.timestamp_type
    appended, first_time = batch.max_timestamp if kind else None, batch.first_timestamp
    left = 0 if batch.is_control_batch else batch._num_records - batch._next_record_index
    while left:
        left -= 1
        pos = batch._pos
        try:
            # Length, attributes, time and offset relative to the batch's, length of key and value, number of headers.
            length = buffer[pos]
            if length & 0x80:
                pos += 1
                length += (buffer[pos] << 7) - 0x80
            start = pos + 1
            time = buffer[pos + 2]
            pos += 3
            if time & 0x80:
                time += (buffer[pos] << 7) - 0x80
                pos += 1
            offset = buffer[pos]
            pos += 1
            if offset & 0x80:
                offset += (buffer[pos] << 7) - 0x80
                pos += 1
            key, key_size = None, buffer[pos]
            pos += 1
            if key_size != 1:
                end = pos + (key_size >> 1)
                key, pos = bytes(buffer[pos:end]), end
            size = buffer[pos]
            pos += 1
            if size & 0x80:
                size += (buffer[pos] << 7) - 0x80
                pos += 1
            end = pos + (size >> 1)
            strange = (length | time | offset | size) & _NOT_FOR_HERE or (key_size & 0x81 and key_size != 1)
            if strange or buffer[start] or buffer[end] or end + 1 - start != length >> 1:
                yield next(batch)
                continue
        except IndexError:
            yield next(batch)
            continue
        batch._pos = end + 1
        batch._next_record_index += 1
        stamp = first_time + (time >> 1) if appended is None else appended
        value = bytes(buffer[pos:end])
        yield _new(QuickRecord, (base_offset + (offset >> 1), stamp, kind, key, value, [], length >> 1))
    # The records of control batches, and the check that nothing follows the last record.
    while (record := next(batch, None)) is not None:
        yield record


def install() -> None:
    """Have the client iterate over batches by `records_of`."""
    DefaultRecordBatch.__iter__ = records_of
