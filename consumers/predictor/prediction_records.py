"""What goes out for one answer: the whole prediction that is joined, and what others read of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from runtime.kafka_client import size_limits
from runtime.kafka_client.partitioner import hashed
from runtime.kafka_client.records import Output, Record
from schemas.codec import CodecError
from schemas.events import Prediction, read_prediction
from schemas.topics import Names

Headers: TypeAlias = list[tuple[str, bytes]]
Encode: TypeAlias = Callable[[Prediction], bytes]
MOST_HEADERS: Final = 8 << 10  # bytes of names and values
HEADERS_DROPPED: Final = "millstream-headers-dropped"
FEATURES_DROPPED: Final = "millstream-features-dropped"
_OURS: Final = "millstream-"
# These say what the features' own bytes are; of a prediction they would be untrue.
_OF_THE_VALUE: Final = frozenset({"content-type", "__value_schema_id"})
_OF_THE_KEY: Final = "__key_schema_id"


@dataclass(frozen=True, kw_only=True)
class Form:
    """How others read predictions.

    Attributes
    ----------
    partitions
        Of the topic that they read.
    encode
        Makes a message of a prediction; CodecError where it cannot. `None`: they read whole ones, in Millstream's Avro.
    content_type
        Of what is written.
    cloudevents
        The ``ce_source`` to write; `None` for predictions that are no CloudEvents.
    """

    partitions: int = 0
    encode: Encode | None = None
    content_type: str = "application/avro"
    cloudevents: str | None = None


WHOLE: Final = Form()
"""They read what is joined."""


class PredictionRecords:
    """Makes the records of answers.

    Parameters
    ----------
    partitions
        Of the topic of whole predictions.
    """

    def __init__(self, names: Names, partitions: int, form: Form) -> None:
        assert names.public is (form.encode is not None)  # noqa: S101 - a caller's slip
        self._whole = names.whole
        self._public = names.topic("predictions")
        self._partitions = partitions
        self._form = form

    def outputs(self, record: Record, event_id: str, value: bytes) -> list[Output]:
        """Return what to send for the answer to `record`; `value` is the whole Prediction.

        Whole predictions are keyed by the event's id and stand where its label will. Those for others are keyed as
        their event was, so that what belongs together stays in order.
        """
        form, key = self._form, event_id.encode()
        right = hashed(key, self._partitions)
        if form.encode is None:
            if not record.headers and form.cloudevents is None:
                return [Output(self._whole, right, key, value)]
            return [Output(self._whole, right, key, value, self._headers(record, event_id, same_key=False))]
        same_key = bool(record.key) and len(record.key or b"") <= size_limits.BESIDE
        theirs = record.key if record.key and same_key else key
        headers = self._headers(record, event_id, same_key=same_key)
        public, more = _encoded(form.encode, value)
        return [
            Output(self._whole, right, key, value),
            Output(self._public, hashed(theirs, form.partitions), theirs, public, [*headers, *more]),
        ]

    def _headers(self, record: Record, event_id: str, *, same_key: bool) -> Headers:
        passed = passed_on(record.headers, same_key=same_key) if record.headers else []
        if self._form.cloudevents is None:
            return passed
        return [*passed, *_cloudevent(self._form.cloudevents, event_id, self._form.content_type)]


def passed_on(headers: Sequence[tuple[str, bytes | None]], *, same_key: bool) -> Headers:
    """Return those headers of an event that its prediction bears, too: tracing, tenants, whatever a sender wrote.

    None that say what the event's own bytes are (CloudEvents, schema ids, content type), and none of Millstream's.
    Where they are over 8 KiB, a header that says how many there were takes the place of all.
    """
    found = [(name, value or b"") for name, value in headers if _is_passed(name, same_key=same_key)]
    if sum(len(name.encode()) + len(value) for name, value in found) > MOST_HEADERS:
        return [(HEADERS_DROPPED, str(len(found)).encode())]
    return found


def _is_passed(name: str, *, same_key: bool) -> bool:
    lower = name.lower()
    if lower.startswith(("ce_", _OURS)) or lower in _OF_THE_VALUE:
        return False
    return same_key or lower != _OF_THE_KEY


def _cloudevent(source: str, event_id: str, content_type: str) -> Headers:
    """Return the headers of a CloudEvent in binary mode, as the Kafka binding of CloudEvents 1.0 has them."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", b"millstream.prediction"),
        ("content-type", content_type.encode()),
    ]


def _encoded(encode: Encode, value: bytes) -> tuple[bytes, Headers]:
    """Return a prediction for others; without its features, and a header that says so, where they do not fit."""
    prediction = read_prediction(value)
    try:
        public = encode(prediction)
        if len(public) <= size_limits.EVENT:
            return public, []
    except CodecError:
        pass
    event = msgspec.structs.replace(prediction.event, features={})
    dropped = str(len(prediction.event.features)).encode()
    return encode(Prediction(event, prediction.outcome)), [(FEATURES_DROPPED, dropped)]
