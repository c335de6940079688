"""Mapping of an external message to a `Label`: its event, value, time and source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, TypeAlias

from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.events import Label, LabelValue
from schemas.exact_integers import NotExact, long_of, plain_decimal
from schemas.sources.event_mapping import Decode
from schemas.sources.expressions import InvalidExpression, NotComparable, expression
from schemas.sources.message_fields import Unmapped, check_text, id_reader, said, short, time_reader
from schemas.sources.paths import MISSING, InvalidPath, path
from schemas.sources.source import InvalidSource, Source, ValueOf

_LONGEST_ID: Final = 1024
Value: TypeAlias = Callable[[Any], LabelValue | None]


class LabelMapping:
    """Maps the messages of one source to labels.

    A source with `wins` sends corrections: the joiner accepts the first label of an event, whatever its kind, and after
    that only corrections.

    Parameters
    ----------
    decode
        Decodes a message's bytes and headers to plain values; raises CodecError.

    Raises
    ------
    InvalidSource
        If the source lacks the path of the event's id or of the label's value, or one of them is invalid.
    """

    def __init__(self, source: Source, decode: Decode) -> None:
        if not source.ids:
            raise InvalidSource(f"Source of labels on {source.topic}: id= must name the path of the event's id")
        if source.value is None:
            raise InvalidSource(
                f"Source of labels on {source.topic}: value= must say what the label is: a path, a comparison such as "
                "\"status == 'fraud'\", or a function of the message"
            )
        if source.fields or source.prepare is not None or source.contract:
            raise InvalidSource(f"Source of labels on {source.topic}: fields=, prepare= and contract= are of features")
        self._source = source
        self._decode = decode
        try:
            self._id = id_reader(source)
            self._time = time_reader(source)
            self._value = _value_reader(source.value)
            self._weight = _weight_reader(source.weight)
        except (InvalidPath, InvalidExpression) as error:
            raise InvalidSource(f"Source of labels on {source.topic}: {error}") from error

    @property
    def source(self) -> Source:
        """Return the source of this mapping."""
        return self._source

    def label(self, record: Record) -> Label | None:
        """Return the label of a message, `None` if there is none yet: its value is missing or null.

        Raises
        ------
        Unmapped
            If the message cannot be mapped; the code is ``codec``, ``value``, ``id``, ``time`` or ``weight``.
        """
        if not record.value:
            return None  # a tombstone on a compacted topic
        try:
            message = self._decode(record.value, record.headers)
        except CodecError as error:
            raise Unmapped("codec", str(error)) from error
        value = self._value(message)
        if value is None:
            return None
        event_id: str = self._id(message, record)
        check_text(event_id)
        if len(event_id) > _LONGEST_ID:
            raise Unmapped("id", f"the event id has {len(event_id)} characters; 1 to {_LONGEST_ID} are taken")
        return Label(
            event_id,
            value,
            self._time(message, record),
            self._weight(message),
            self._source.source,
            "correction" if self._source.wins else "label",
        )


def check_labels(source: Source) -> None:
    """Raise InvalidSource unless labels can be read from the source."""
    LabelMapping(source, lambda data, headers: None)


def _value_reader(value: ValueOf) -> Value:
    read = expression(value) if isinstance(value, str) else value
    if not callable(read):
        raise InvalidExpression(f"value={value!r} is neither text nor a function")

    def label_value(message: Any) -> LabelValue | None:
        try:
            found = read(message)
        except NotComparable as error:
            raise Unmapped("value", str(error)) from error
        except Exception as error:
            raise Unmapped("value", f"value= raised {type(error).__name__}: {short(str(error), 200)}") from error
        return _plain(found)

    return label_value


def _plain(found: Any) -> LabelValue | None:
    if found is None or isinstance(found, (bool, float, str)):
        return found
    if isinstance(found, int):
        return _long(found)
    if isinstance(found, Decimal) and found.is_finite():
        number = plain_decimal(found)
        return _long(number) if isinstance(number, int) else number
    if isinstance(found, Decimal):
        return _double(found)
    if isinstance(found, Mapping) and all(isinstance(each, (int, float, str)) for each in found.values()):
        return {str(name): _double(each) if isinstance(each, int) else each for name, each in found.items()}
    raise Unmapped("value", f"the label is {said(found)}; true, false, numbers and text are taken")


def _long(number: int) -> int:
    try:
        return long_of(number, "the label")
    except NotExact as error:
        raise Unmapped("value", str(error)) from error


def _double(number: int | Decimal) -> float:
    """Return the nearest double, or raise Unmapped: whole numbers in JSON may be too large for one."""
    try:
        return float(number)
    except (OverflowError, ValueError) as error:
        raise Unmapped("value", f"the label is a number that no double comes near: {error}") from error


def _weight_reader(weight: str | None) -> Callable[[Any], float]:
    if weight is None:
        return lambda message: 1.0
    find = path(weight)

    def read(message: Any) -> float:
        found = find(message)
        if found is MISSING or found is None:
            return 1.0
        if isinstance(found, bool) or not isinstance(found, (int, float, Decimal)):
            raise Unmapped("weight", f"the weight at {weight} is {said(found)}, not a number")
        try:
            number = float(found)
        except OverflowError:
            number = math.inf
        if not 0.0 <= number < math.inf:
            raise Unmapped("weight", f"the weight at {weight} is {number}; it must be finite and not negative")
        return number

    return read
