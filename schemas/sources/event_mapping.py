"""Mapping of an external message to an `Event`."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.events import Event, Features, FeatureValue
from schemas.exact_integers import NotExact, long_of, may_be_rounded, plain_decimal, vector_of
from schemas.sources.message_fields import Unmapped, check_text, entity_key, id_reader, said, short, time_reader
from schemas.sources.paths import MISSING, parts, path
from schemas.sources.source import Constant, Source

Decode: TypeAlias = Callable[[bytes, Sequence[tuple[str, bytes]]], Any]
_DEEPEST: Final = 32


class EventMapping:
    """Maps the messages of one source to events.

    Parameters
    ----------
    decode
        Decodes a message's bytes and headers to plain values; raises CodecError.

    Raises
    ------
    InvalidPath
        If a path of the source is invalid.
    """

    def __init__(self, source: Source, decode: Decode) -> None:
        self._decode = decode
        self._id = id_reader(source)
        self._time = time_reader(source)
        self._features = feature_reader(source)

    def event(self, record: Record) -> Event:
        """Return the event of a message.

        Raises
        ------
        Unmapped
            If the message cannot be mapped; the error has its id and time, as far as they could be read.
        """
        try:
            message = self._decode(record.value or b"", record.headers)
        except CodecError as error:
            raise Unmapped("codec", str(error)) from error
        event_id: str = self._id(message, record)
        check_text(event_id)
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


def feature_reader(source: Source) -> Callable[[Any], Features]:
    """Return the function from a decoded message to its values by name. It raises Unmapped."""
    if source.prepare is not None:
        return _prepared(source.prepare)
    if source.fields:
        return _chosen(source.fields)
    said = {".".join(map(str, parts(text))) for text in (*source.ids, *([source.time] if source.time else ()))}
    return lambda message: _all_of(message, said)


def _all_of(message: Any, but: set[str]) -> Features:
    """Return every value of a message by its path."""
    if not isinstance(message, Mapping):
        raise Unmapped("codec", f"the message is {said(message)}, not a record with names in it")
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
            raise Unmapped("prepare", f"prepare= raised {type(error).__name__}: {short(str(error), 500)}") from error
        if not isinstance(found, Mapping):
            raise Unmapped("prepare", f"prepare= returned {said(found)}, not features by name")
        return _all_of(found, set())

    return features


def _put(name: Any, value: Any, used: Features, but: set[str] | frozenset[str] = frozenset(), depth: int = 0) -> None:
    """Add a value to the features: a record's fields as ``record.name``, a list of numbers as a vector."""
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
        return _vector(name, value)
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral):
        return _long(name, int(value))
    if isinstance(value, Decimal) and value.is_finite():
        found = plain_decimal(value)
        return _long(name, found) if isinstance(found, int) else found
    if isinstance(value, (numbers.Real, Decimal)):
        return _number(name, value)
    raise Unmapped("path", f"{_named(name)} is {said(value)}, which no feature can be")


def _vector(name: str, values: Sequence[Any]) -> list[float]:
    numbers_in = [_number_in(name, place, each) for place, each in enumerate(values)]
    if not may_be_rounded(numbers_in):
        return numbers_in
    try:
        return vector_of([int(each) if isinstance(each, numbers.Integral) else float(each) for each in values], name)
    except NotExact as error:
        raise Unmapped("path", str(error)) from error


def _long(name: str, value: int) -> int:
    try:
        return long_of(value, _named(name))
    except NotExact as error:
        raise Unmapped("path", str(error)) from error


def _number_in(name: str, place: int, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (numbers.Real, Decimal)):
        raise Unmapped("path", f"{_named(f'{name}[{place}]')} is {said(value)}: a list is a vector, of numbers only")
    return _number(f"{name}[{place}]", value)


def _number(name: str, value: numbers.Real | Decimal) -> float:
    try:
        return float(value)
    except (OverflowError, ValueError):
        raise Unmapped("path", f"{_named(name)} is {said(value)}, which is no number in 64 bits") from None


def _named(name: Any) -> str:
    return short(str(name), 200)
