"""Typed rows of a stream's topics: what a record says, as one flat value.

Times are in ms since 1970, UTC. `timestamp` is the broker's time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from millstream.reading.topic_readers import is_private
from runtime.kafka_client.records import Record
from schemas import events
from schemas.alerts import fields_of, read_alert_record
from schemas.contract import MASK
from schemas.dead_letters import read_dead_letter
from schemas.events import Features, LabelValue, Outcome

_MASK: Final = MASK.encode()


class ExampleRow(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the examples log: an event with its features as used, its label, and its position in its lane.

    Attributes
    ----------
    prediction, probabilities, version, predicted_at
        The answer that was served; `None` if the example was imported.
    label_source
        ``system``, ``human``, ``import`` or ``timeout``.
    kind
        ``label``, or ``correction`` of an earlier one.
    """

    partition: int
    offset: int
    timestamp: int
    event_id: str
    event_time: int
    entity_key: str | None
    features: Features
    label: LabelValue | None
    weight: float | None
    label_time: int | None
    label_source: str | None
    kind: str | None
    prediction: LabelValue | None
    probabilities: dict[str, float] | None
    version: str | None
    predicted_at: int | None
    lane: str
    lane_epoch: str
    sequence: int


class PredictionRow(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one event, with its features as used.

    Attributes
    ----------
    version
        ``epoch/examples``; `None` if no model was asked.
    error_code, error_message
        The reason, if the answer is an error.
    """

    partition: int
    offset: int
    timestamp: int
    event_id: str
    event_time: int
    entity_key: str | None
    features: Features
    prediction: LabelValue | None
    probabilities: dict[str, float] | None
    version: str | None
    predicted_at: int | None
    status: str
    error_code: str | None
    error_message: str | None


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """A rejected record: the reason, and the record as it was.

    Attributes
    ----------
    stage
        The role that rejected it, at the time `at`.
    from_topic, from_partition, from_offset, from_timestamp
        Where the record was.
    """

    partition: int
    offset: int
    timestamp: int
    stage: str
    code: str
    reason: str
    from_topic: str
    from_partition: int
    from_offset: int
    from_timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    at: int


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that an operator should know: raised once, and cleared once; or a decision about one.

    Attributes
    ----------
    severity
        ``info``, ``warning`` or ``critical``.
    state
        ``raised`` or ``cleared``, at the time `at`; of a decision ``ack``, ``silence`` or ``unsilence``. Its reason is
        the message.
    """

    partition: int
    offset: int
    timestamp: int
    name: str
    severity: str
    state: str
    message: str
    at: int
    details: dict[str, str]


def example(record: Record) -> ExampleRow:
    """Return the row of an Example. Raises CodecError."""
    found = events.read_example(record.value or b"")
    label, lane = found.label, found.lane
    return ExampleRow(
        **_place(record),
        **msgspec.structs.asdict(found.event),
        label=None if label is None else label.value,
        weight=None if label is None else label.weight,
        label_time=None if label is None else label.label_time,
        label_source=None if label is None else label.source,
        kind=None if label is None else label.kind,
        **_answer(found.outcome),
        lane=lane.name,
        lane_epoch=lane.epoch,
        sequence=lane.sequence,
    )


def prediction(record: Record) -> PredictionRow:
    """Return the row of a Prediction. Raises CodecError."""
    found = events.read_prediction(record.value or b"")
    error = found.outcome.error
    return PredictionRow(
        **_place(record),
        **msgspec.structs.asdict(found.event),
        **_answer(found.outcome),
        status=found.outcome.status,
        error_code=None if error is None else error.code,
        error_message=None if error is None else error.message,
    )


def dead_letter(record: Record) -> DeadLetterRow:
    """Return the row of a DeadLetter. Raises CodecError."""
    found, private = read_dead_letter(record.value or b""), is_private(record)
    return DeadLetterRow(
        **_place(record),
        stage=found.stage,
        code=found.code,
        reason=found.reason,
        from_topic=found.topic,
        from_partition=found.partition,
        from_offset=found.offset,
        from_timestamp=found.timestamp,
        key=found.key,
        value=_MASK if private and found.value is not None else found.value,
        headers=[(name, _MASK) for name, _ in found.headers] if private else found.headers,
        at=found.at,
    )


def alert(record: Record) -> AlertRow:
    """Return the row of an Alert, or of a decision about one. Raises CodecError."""
    return AlertRow(**_place(record), **fields_of(read_alert_record(record.value or b"")))


def _place(record: Record) -> dict[str, Any]:
    return {"partition": record.partition, "offset": record.offset, "timestamp": record.timestamp}


def _answer(outcome: Outcome | None) -> dict[str, Any]:
    if outcome is None:
        return dict.fromkeys(("prediction", "probabilities", "version", "predicted_at"))
    return {
        "prediction": outcome.prediction,
        "probabilities": outcome.probabilities,
        "version": outcome.version if outcome.epoch >= 0 else None,
        "predicted_at": outcome.predicted_at,
    }


READERS: Final[Mapping[str, Callable[[Record], Any]]] = {
    "examples": example,
    "predictions": prediction,
    "dead-letters": dead_letter,
    "alerts": alert,
}
