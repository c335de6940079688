"""Records written for an answer: the whole prediction for the joiner, the public one for other teams."""

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
_new: Final = tuple.__new__  # builds a NamedTuple in half the time
# These headers describe the bytes of the features message; for a prediction they would be wrong.
_OF_THE_VALUE: Final = frozenset({"content-type", "__value_schema_id"})
_OF_THE_KEY: Final = "__key_schema_id"


@dataclass(frozen=True, kw_only=True)
class Form:
    """Format of the public predictions.

    Attributes
    ----------
    partitions
        Number of partitions of the public topic.
    encode
        Makes a message of a prediction, or raises CodecError. `None`: readers get whole predictions in Millstream's
        Avro.
    content_type
        Content type of the message.
    cloudevents
        The ``ce_source`` header; `None` for predictions that are not CloudEvents.
    """

    partitions: int = 0
    encode: Encode | None = None
    content_type: str = "application/avro"
    cloudevents: str | None = None


WHOLE: Final = Form()
"""The form in which other teams read the same records as the joiner."""


class PredictionRecords:
    """Builds the records of answers.

    Parameters
    ----------
    partitions
        Number of partitions of the topic of whole predictions.
    """

    def __init__(self, names: Names, partitions: int, form: Form) -> None:
        assert names.public is (form.encode is not None)  # noqa: S101 - an error of the caller
        self._whole = names.whole
        self._public = names.topic("predictions")
        self._partitions = partitions
        self._form = form
        self._plain = form.encode is None and form.cloudevents is None

    @property
    def are_plain(self) -> bool:
        """Return whether each answer is one record, without headers where its event has none."""
        return self._plain

    def outputs(self, record: Record, key: bytes, value: bytes) -> list[Output]:
        """Return the records to send for the answer to `record`.

        `key` is the event's id in UTF-8, `value` is the whole Prediction.

        Whole predictions are keyed by the event's id, so they share a partition with its label. Public predictions keep
        the key of their event, so that records with one key stay in order.
        """
        form, right = self._form, hashed(key, self._partitions)
        if self._plain and not record.headers:
            return [_new(Output, (self._whole, right, key, value, (), None))]
        if form.encode is None:
            return [Output(self._whole, right, key, value, self._headers(record, key, same_key=False))]
        same_key = bool(record.key) and len(record.key or b"") <= size_limits.BESIDE
        theirs = record.key if record.key and same_key else key
        headers = self._headers(record, key, same_key=same_key)
        public, more = _encoded(form.encode, value)
        return [
            Output(self._whole, right, key, value),
            Output(self._public, hashed(theirs, form.partitions), theirs, public, [*headers, *more]),
        ]

    def _headers(self, record: Record, event_id: bytes, *, same_key: bool) -> Headers:
        passed = passed_on(record.headers, same_key=same_key) if record.headers else []
        if self._form.cloudevents is None:
            return passed
        return [*passed, *_cloudevent(self._form.cloudevents, event_id, self._form.content_type)]


def passed_on(headers: Sequence[tuple[str, bytes | None]], *, same_key: bool) -> Headers:
    """Return the headers that a prediction copies from its event: tracing, tenants, anything a sender wrote.

    Headers that describe the event's own bytes (CloudEvents, schema ids, content type) and Millstream's own are not
    copied. If the headers exceed 8 KiB, a single header with their number replaces them.
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


def _cloudevent(source: str, event_id: bytes, content_type: str) -> Headers:
    """Return the headers of a CloudEvent in binary mode, by the Kafka binding of CloudEvents 1.0."""
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id),
        ("ce_source", source.encode()),
        ("ce_type", b"millstream.prediction"),
        ("content-type", content_type.encode()),
    ]


def _encoded(encode: Encode, value: bytes) -> tuple[bytes, Headers]:
    """Return a public prediction; if its features do not fit, leave them out and say so in a header."""
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
