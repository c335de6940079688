"""What a stage does with a record that it cannot take: the record as it was, its place, and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from runtime.kafka_client import size_limits
from runtime.kafka_client.records import Output, Record
from schemas.dead_letters import DeadLetter

HEADERS_LEFT_OUT: Final = "(its headers are too large to be kept here)"
"""How the reason of a letter ends that has not the headers of its record."""


def dead_letter(topic: str, record: Record, stage: str, code: str, reason: str, at: int) -> Output:
    """Return what to send to `topic` for a `record` that `stage` refused at `at` (ms).

    Of a record that is too large for a letter the beginning is kept, and the reason says so: the whole stands at its
    place for as long as its topic keeps it.
    """
    key, value = record.key, record.value
    headers: list[tuple[str, bytes | None]] = list(record.headers)
    if value is not None and len(value) > size_limits.LETTER:
        reason = f"{reason} (only the first {size_limits.LETTER} of its {len(value)} bytes are kept here)"
        value = value[: size_limits.LETTER]
    if key is not None and len(key) > size_limits.BESIDE:
        key = key[: size_limits.BESIDE]
    if sum(len(name.encode()) + len(given or b"") for name, given in headers) > size_limits.BESIDE:
        headers = []
        reason = f"{reason} {HEADERS_LEFT_OUT}"
    letter = DeadLetter(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        key,
        value,
        headers,
        stage,
        code,
        reason,
        at,
    )
    return Output(topic, 0, key, letter.encode())


REPLAYED: Final = "millstream-replayed"
"""The header of a note among dead letters: the offsets of those that were sent back, as JSON."""


def note_replayed(topic: str, offsets: Sequence[int]) -> Output:
    """Return what to send to `topic` to say that the letters at these offsets have been sent back."""
    return Output(topic, 0, None, None, [(REPLAYED, msgspec.json.encode(offsets))])


def replayed(record: Record) -> list[int] | None:
    """Return the offsets that a note says were sent back; `None` where the record is no note."""
    if record.value is not None:
        return None
    said = dict(record.headers).get(REPLAYED)
    try:
        return None if said is None else msgspec.json.decode(said, type=list[int])
    except msgspec.DecodeError:
        return None  # somebody else's: it says nothing
