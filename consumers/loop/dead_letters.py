"""Dead letters of a role: the refused record unchanged, its topic and offset, and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from runtime.kafka_client import size_limits
from runtime.kafka_client.records import Output, Record
from schemas.dead_letters import PRIVATE, DeadLetter

HEADERS_LEFT_OUT: Final = "(its headers are too large to be kept here)"
"""End of the reason if a dead letter does not contain the headers of its record."""


def dead_letter(
    topic: str, record: Record, stage: str, code: str, reason: str, at: int, private: bool = False
) -> Output:
    """Return the dead letter to send to `topic` for a `record` that `stage` refused at `at` (ms).

    If the record is too large, the dead letter keeps only its beginning, and the reason says so. The whole record
    stays at its offset for as long as its topic keeps it. The letter of a record with `private` features is marked, so
    that whoever shows it hides what the record holds.
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
    return Output(topic, 0, key, letter.encode(), [(PRIVATE, b"1")] if private else [])


REPLAYED: Final = "millstream-replayed"
"""Header of a note among the dead letters: the offsets of those that were sent back, as JSON."""


def note_replayed(topic: str, offsets: Sequence[int]) -> Output:
    """Return the note to send to `topic` that the dead letters at these offsets have been sent back."""
    return Output(topic, 0, None, None, [(REPLAYED, msgspec.json.encode(offsets))])


def replayed(record: Record) -> list[int] | None:
    """Return the offsets that a note lists as sent back; `None` if the record is not a note."""
    if record.value is not None:
        return None
    said = dict(record.headers).get(REPLAYED)
    try:
        return None if said is None else msgspec.json.decode(said, type=list[int])
    except msgspec.DecodeError:
        return None  # an external record, which is not a note
