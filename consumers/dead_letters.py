"""What a stage does with a record that it cannot take: the record as it was, its place, and the reason."""

from __future__ import annotations

from consumers.processor import Output, Record
from schemas.events import DeadLetter


def dead_letter(topic: str, record: Record, stage: str, code: str, reason: str, at: int) -> Output:
    """Return what to send to `topic` for a `record` that `stage` refused at `at` (ms)."""
    letter = DeadLetter(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        list(record.headers),
        stage,
        code,
        reason,
        at,
    )
    return Output(topic, 0, record.key, letter.encode())
