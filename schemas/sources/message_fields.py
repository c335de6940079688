"""Id, time and key of an external message."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, TypeAlias

from runtime.kafka_client.records import Record
from schemas.events import Event
from schemas.exact_integers import EXACT
from schemas.sources.paths import MISSING, path
from schemas.sources.source import Source

_LONGEST_KEY: Final = 1024
_LONGEST_NUMBER: Final = 256  # bits
_MOST: Final = 2**63


class Unmapped(ValueError):  # noqa: N818
    """A message cannot be mapped by its source.

    Attributes
    ----------
    code
        A short word for counting: ``codec``, ``id``, ``time``, ``path``, ``prepare``.
    event
        The known part of the event: its id and time, without features.
    """

    def __init__(self, code: str, message: str, event: Event | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.event = event


Read: TypeAlias = Callable[[Any, Record], Any]


def entity_key(record: Record) -> str | None:
    """Return a record's key if it is text, `None` if it is missing or has another encoding."""
    if not record.key or len(record.key) > _LONGEST_KEY:
        return None
    try:
        text = record.key.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def place_id(record: Record) -> str:
    """Return the id of an event without one: topic, partition and offset, which are unique."""
    return f"{record.topic}-{record.partition}-{record.offset}"


# --- ids and times -----------------------------------------------------------------------------------


def id_reader(source: Source) -> Read:
    """Return a function that finds the id of a message, given its decoded value and record; it raises Unmapped.

    Values of several paths are joined by ``:``. Without a path it is the CloudEvents header ``ce_id``, else topic,
    partition and offset.
    """
    paths = [(text, path(text)) for text in source.ids]
    if not paths:
        return lambda _message, record: _header(record, "ce_id") or place_id(record)
    if len(paths) == 1:
        text, find = paths[0]
        return lambda message, _record: _id_part(text, find(message))
    return lambda message, _record: ":".join([_id_part(text, find(message)) for text, find in paths])


def _id_part(text: str, value: Any) -> str:
    if value.__class__ is str and value:
        return str(value)
    if isinstance(value, bool) or value is MISSING or value is None or value in ("", b""):
        raise Unmapped("id", f"the id at {text} is {said(value)}")
    if isinstance(value, int) and value.bit_length() <= _LONGEST_NUMBER:
        return str(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return str(int(value))  # some senders write whole numbers as doubles in JSON
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        raise Unmapped("id", f"the id at {text} is {said(value)}, a double that may be rounded; text keeps all digits")
    raise Unmapped("id", f"the id at {text} is {said(value)}; text and whole numbers are taken")


def time_reader(source: Source) -> Read:
    """Return a function that finds the time of a message in ms, given its decoded value and record; it raises Unmapped.

    Without a path it is the CloudEvents header ``ce_time``, else the record's time.
    """
    if source.time is None:
        return _time_of_record
    text, find = source.time, path(source.time)
    return lambda message, _record: milliseconds(find(message), f"the time at {text}")


def _time_of_record(_message: Any, record: Record) -> int:
    said = _header(record, "ce_time")
    return max(record.timestamp, 0) if said is None else milliseconds(said, "the time in the header ce_time")


def milliseconds(value: Any, what: str) -> int:
    """Convert a time to ms since 1970, from ms, ISO 8601 (UTC if it has no zone), or a datetime.

    >>> milliseconds("2024-01-01T00:00:00Z", "the time"), milliseconds(1704067200000, "the time")
    (1704067200000, 1704067200000)

    Raises
    ------
    Unmapped
        If the value is not a time; the message begins with `what`.
    """
    if isinstance(value, int) and not isinstance(value, bool) and -_MOST <= value < _MOST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value) and abs(value) < _MOST:
        return int(value)
    if isinstance(value, str):
        # Eight digits can be a day in ISO 8601; more than ten digits can only be ms.
        if value.isascii() and value.isdigit() and 10 < len(value) < 19:
            return int(value)
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise Unmapped("time", f"{what} is {said(value)}: neither ms since 1970 nor ISO 8601") from None
    if isinstance(value, date):
        return _of_datetime(value)
    raise Unmapped("time", f"{what} is {said(value)}; ms since 1970 and ISO 8601 are taken")


def _of_datetime(value: date) -> int:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def check_text(event_id: str) -> None:
    """Raise Unmapped unless the id can be encoded as a key: JSON can hold unpaired surrogates."""
    try:
        event_id.encode()
    except UnicodeEncodeError as error:
        raise Unmapped("id", f"the id {said(event_id)} is no UTF-8") from error


def _header(record: Record, name: str) -> str | None:
    for found, value in record.headers:
        if found == name and value:
            try:
                return bytes(value).decode()
            except UnicodeDecodeError:
                return None
    return None


def said(value: Any) -> str:
    """Describe a value for a message."""
    if isinstance(value, int) and value.bit_length() > _LONGEST_NUMBER:
        return f"a whole number of {value.bit_length()} bits"  # Python refuses to print more than 4,300 digits
    if isinstance(value, (str, bytes, bool, int, float)):
        return short(repr(value), 60)
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping):
        return "a record"
    return "missing" if value is MISSING else "null" if value is None else f"a {type(value).__name__}"


def short(text: str, chars: int) -> str:
    """Return the text, cut to `chars`."""
    return text if len(text) <= chars else text[: chars - 1] + "…"
