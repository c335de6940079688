"""From a message of somebody else's to an `Event`: its id, its time, its features."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Final, Protocol, TypeAlias

from schemas.codec import CodecError
from schemas.events import Event, Features, FeatureValue
from schemas.paths import MISSING, parts, path
from schemas.source import Constant, Source

Decode: TypeAlias = Callable[[bytes, Sequence[tuple[str, bytes]]], Any]
_DEEPEST: Final = 32
_LONGEST_KEY: Final = 1024
_LONGEST_NUMBER: Final = 256  # bits
_MOST: Final = 2**63


class Message(Protocol):
    """One record of somebody else's topic. `timestamp` in ms, the broker's or the sender's, as the topic has it."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Unmapped(ValueError):  # noqa: N818
    """A message cannot be read as its source says.

    Attributes
    ----------
    code
        A short word for counting: ``codec``, ``id``, ``time``, ``path``, ``prepare``.
    event
        What is known of it all the same: its id and time, without features.
    """

    def __init__(self, code: str, message: str, event: Event | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.event = event


Read: TypeAlias = Callable[[Any, Message], Any]


class EventMapping:
    """Reads the messages of one source as events.

    Parameters
    ----------
    decode
        From a message's bytes and headers to plain values; raises CodecError.

    Raises
    ------
    InvalidPath
        Where a path of the source is none.
    """

    def __init__(self, source: Source, decode: Decode) -> None:
        self._decode = decode
        self._id = id_reader(source)
        self._time = time_reader(source)
        self._features = _feature_reader(source)

    def event(self, record: Message) -> Event:
        """Return the event that a message is.

        Raises
        ------
        Unmapped
            Where it is none; with its id and time, as far as they could be read.
        """
        try:
            message = self._decode(record.value or b"", record.headers)
        except CodecError as error:
            raise Unmapped("codec", str(error)) from error
        event_id: str = self._id(message, record)
        _check_text(event_id)
        key = entity_key(record)
        try:
            event_time: int = self._time(message, record)
        except Unmapped as error:
            error.event = Event(event_id, max(record.timestamp, 0), {}, key)
            raise
        try:
            return Event(event_id, event_time, self._features(message), key)
        except Unmapped as error:
            error.event = Event(event_id, event_time, {}, key)
            raise


def entity_key(record: Message) -> str | None:
    """Return a record's key where it is text, `None` where it is something else's encoding, or nothing."""
    if not record.key or len(record.key) > _LONGEST_KEY:
        return None
    try:
        text = record.key.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def place_id(record: Message) -> str:
    """Return the id of an event that has none: no other record is at its place."""
    return f"{record.topic}-{record.partition}-{record.offset}"


# --- ids and times -----------------------------------------------------------------------------------


def id_reader(source: Source) -> Read:
    """Return the function from a message (decoded, and its record) to its id; it raises Unmapped.

    Several paths are joined by ``:``. Without one: the CloudEvents header ``ce_id``, else the record's place.
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
        raise Unmapped("id", f"the id at {text} is {_said(value)}")
    if isinstance(value, int) and value.bit_length() <= _LONGEST_NUMBER:
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # JSON of some senders has no whole numbers
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return str(value)
    raise Unmapped("id", f"the id at {text} is {_said(value)}; text and whole numbers are taken")


def time_reader(source: Source) -> Read:
    """Return the function from a message (decoded, and its record) to its time in ms; it raises Unmapped.

    Without a path: the CloudEvents header ``ce_time``, else the record's time.
    """
    if source.time is None:
        return _time_of_record
    text, find = source.time, path(source.time)
    return lambda message, _record: milliseconds(find(message), f"the time at {text}")


def _time_of_record(_message: Any, record: Message) -> int:
    said = _header(record, "ce_time")
    return max(record.timestamp, 0) if said is None else milliseconds(said, "the time in the header ce_time")


def milliseconds(value: Any, what: str) -> int:
    """Return a time as ms since 1970: of ms, ISO 8601 (UTC where it names no zone), or a datetime.

    >>> milliseconds("2024-01-01T00:00:00Z", "the time"), milliseconds(1704067200000, "the time")
    (1704067200000, 1704067200000)

    Raises
    ------
    Unmapped
        Where it is none; the message begins with `what`.
    """
    if isinstance(value, int) and not isinstance(value, bool) and -_MOST <= value < _MOST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value) and abs(value) < _MOST:
        return int(value)
    if isinstance(value, str):
        # Eight digits are a day in ISO 8601; so many that they cannot be one are ms.
        if value.isascii() and value.isdigit() and 10 < len(value) < 19:
            return int(value)
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise Unmapped("time", f"{what} is {_said(value)}: neither ms since 1970 nor ISO 8601") from None
    if isinstance(value, date):
        return _of_datetime(value)
    raise Unmapped("time", f"{what} is {_said(value)}; ms since 1970 and ISO 8601 are taken")


def _of_datetime(value: date) -> int:
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def _check_text(event_id: str) -> None:
    """Insist on an id that a key can be made of: JSON can hold halves of characters."""
    try:
        event_id.encode()
    except UnicodeEncodeError as error:
        raise Unmapped("id", f"the id {_said(event_id)} is no UTF-8") from error


def _header(record: Message, name: str) -> str | None:
    for found, value in record.headers:
        if found == name and value:
            try:
                return bytes(value).decode()
            except UnicodeDecodeError:
                return None
    return None


# --- features ----------------------------------------------------------------------------------------


def _feature_reader(source: Source) -> Callable[[Any], Features]:
    if source.prepare is not None:
        return _prepared(source.prepare)
    if source.fields:
        return _chosen(source.fields)
    said = {".".join(map(str, parts(text))) for text in (*source.ids, *([source.time] if source.time else ()))}
    return lambda message: _all_of(message, said)


def _all_of(message: Any, but: set[str]) -> Features:
    """Return every value of a message, under its path."""
    if not isinstance(message, Mapping):
        raise Unmapped("codec", f"the message is {_said(message)}, not a record with names in it")
    used: Features = {}
    for name, value in message.items():
        _put(name, value, used, but)
    return used


def _chosen(fields: Mapping[str, str | Constant]) -> Callable[[Any], Features]:
    constants = {name: each.value for name, each in fields.items() if isinstance(each, Constant)}
    finders = [(name, path(each)) for name, each in fields.items() if isinstance(each, str)]

    def choose(message: Any) -> Features:
        used: Features = dict(constants)
        for name, find in finders:
            value = find(message)
            if value is not MISSING:
                _put(name, value, used)
        return used

    return choose


def _prepared(prepare: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]) -> Callable[[Any], Features]:
    def features(message: Any) -> Features:
        try:
            found = prepare(message)
        except Exception as error:
            raise Unmapped("prepare", f"prepare= raised {type(error).__name__}: {_short(str(error), 500)}") from error
        if not isinstance(found, Mapping):
            raise Unmapped("prepare", f"prepare= returned {_said(found)}, not features by name")
        return _all_of(found, set())

    return features


def _put(name: Any, value: Any, used: Features, but: set[str] | frozenset[str] = frozenset(), depth: int = 0) -> None:
    """Put a value among the features: what is in a record as ``record.name``, a list of numbers as a vector."""
    kind = value.__class__
    if kind is not dict and not isinstance(value, Mapping):
        if name in but:
            return
        if name in used or name.__class__ is not str:
            raise Unmapped("path", f"{_named(name)} is there twice" if name in used else f"{_named(name)} is no text")
        used[name] = value if kind in (float, bool, str) or value is None else _plain(name, value)
        return
    if depth == _DEEPEST:
        raise Unmapped("path", f"{_named(name)} holds records in records, over {_DEEPEST} deep")
    for inner, each in value.items():
        _put(f"{name}.{inner}", each, used, but, depth + 1)


def _plain(name: str, value: Any) -> FeatureValue:
    if isinstance(value, (list, tuple)):
        return [_number_in(name, place, each) for place, each in enumerate(value)]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        whole = int(value)
        if not -_MOST <= whole < _MOST:
            raise Unmapped("path", f"{_named(name)} is {_said(whole)}, beyond 64 bits")
        return whole
    if isinstance(value, (numbers.Real, Decimal)):
        return _number(name, value)
    raise Unmapped("path", f"{_named(name)} is {_said(value)}, which no feature can be")


def _number_in(name: str, place: int, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, Decimal)):
        raise Unmapped("path", f"{_named(f'{name}[{place}]')} is {_said(value)}: a list is a vector, of numbers only")
    return _number(f"{name}[{place}]", value)


def _number(name: str, value: numbers.Real | Decimal) -> float:
    try:
        return float(value)
    except (OverflowError, ValueError):
        raise Unmapped("path", f"{_named(name)} is {_said(value)}, which is no number in 64 bits") from None


def _named(name: Any) -> str:
    return _short(str(name), 200)


def _said(value: Any) -> str:
    """Say what a value is, for people."""
    if value is MISSING:
        return "missing"
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a record"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > _LONGEST_NUMBER:
        return f"a whole number of {value.bit_length()} bits"  # Python writes none of over 4,300 digits
    if isinstance(value, (str, bytes, bool, int, float)):
        return _short(repr(value), 60)
    return f"a {type(value).__name__}"


def _short(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - 1] + "…"
