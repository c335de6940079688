"""Events and labels in the body of a request: the JSON of the topics, without an id if need be."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

import msgspec

from schemas.codec import CodecError
from schemas.events import Event, JsonFeatures, features_of, not_json
from schemas.json_text import NO_JSON, json_text
from schemas.sources.metrics import Metric

_Time = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _EventRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    features: JsonFeatures
    event_id: str | None = None
    event_time: _Time = 0
    entity_key: str | None = None


class _Events(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    events: msgspec.Raw


class _Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    labels: msgspec.Raw


class _Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    values: msgspec.Raw


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    value: float
    time: _Time = 0


class _Found(msgspec.Struct, frozen=True):
    """What tells a request with many rows from a single one, whose features may have these names too."""

    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    labels: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    values: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


MOST_ROWS: Final = 100_000
NUMBER_BYTES: Final = 8
LARGEST_EVENT: Final = 1 << 20
_MOST_VALUES: Final = 1_000_000
_event_row: Final = msgspec.json.Decoder(_EventRow)
_request: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "events": msgspec.json.Decoder(_Events),
    "labels": msgspec.json.Decoder(_Labels),
    "values": msgspec.json.Decoder(_Values),
}
_value: Final = msgspec.json.Decoder(_Value)
_found: Final = msgspec.json.Decoder(_Found)
_list: Final = msgspec.json.Decoder(list[msgspec.Raw])


class TooMany(Exception):  # noqa: N818
    """The request has more rows, or more values, than are taken at once."""


class TooLarge(Exception):  # noqa: N818
    """An event or a label is so large that other requests would wait for it."""


def read_event_row(text: bytes, unnamed: str, now_ms: int) -> Event:
    """Read one event; `unnamed` is its id if it has none, `now_ms` its time.

    >>> read_event_row(b'{"features": {"x": 1.5}}', "made-here", 7)
    Event(event_id='made-here', event_time=7, features={'x': 1.5}, entity_key=None)

    Raises
    ------
    CodecError
        If it is not an event in JSON.
    """
    if text[:1] != b"{":
        text = json_text(text)
    try:
        found = _event_row.decode(text)
    except NO_JSON as error:
        raise CodecError(not_json("an event", error, text)) from error
    event_id = unnamed if found.event_id is None else found.event_id
    return Event(event_id, found.event_time or now_ms, features_of(found.features, text), found.entity_key)


def event_rows(body: bytes) -> list[bytes] | None:
    """Return the rows of a request with many events; `None` if it is a single one. Raises CodecError or TooMany."""
    return _rows(body, "events") if b'"events"' in body else None


def label_rows(body: bytes) -> list[bytes] | None:
    """Return the rows of a request with many labels; `None` if it is a single one. Raises CodecError or TooMany."""
    return _rows(body, "labels") if b'"labels"' in body else None


def value_rows(body: bytes) -> list[bytes] | None:
    """Return the rows of a request with many values of a metric; `None` if it is a single one.

    Raises
    ------
    CodecError, TooMany
        If there are no rows in it, or too many.
    """
    return _rows(body, "values") if b'"values"' in body else None


def read_value(text: bytes, name: str, now_ms: int) -> Metric:
    """Read one value of a metric; `now_ms` is its time if it has none.

    >>> read_value(b'{"value": 2}', "orders", 7)
    Metric(name='orders', value=2.0, time=7)

    Raises
    ------
    CodecError
        If it is not a value in JSON, or not finite.
    """
    text = json_text(text)
    try:
        found = _value.decode(text)
    except NO_JSON as error:
        raise CodecError(not_json("a value", error, text)) from error
    if not math.isfinite(found.value):
        raise CodecError("not a value in JSON: it is beyond what a double holds")
    return Metric(name, found.value, found.time or now_ms)


def _rows(body: bytes, name: Literal["events", "labels", "values"]) -> list[bytes] | None:
    text = json_text(body)
    try:
        if getattr(_found.decode(text), name) is msgspec.UNSET:
            return None  # it is the name of a feature, perhaps
        rows = bytes(getattr(_request[name].decode(text), name))
        check_values(rows)
        found = _list.decode(rows)
    except NO_JSON as error:
        raise CodecError(f'not {{"{name}": […]}} in JSON: {error}') from error
    check_count(len(found))
    return [bytes(each) for each in found]


def lines(body: bytes) -> list[bytes]:
    """Return the rows of newline-delimited JSON; empty lines are left out. Raises TooMany."""
    if (ends := body.count(b"\n")) > 2 * MOST_ROWS:
        check_count(ends)  # also of empty lines: what is split takes memory
    found = [line for line in body.split(b"\n") if line.strip()]
    check_count(len(found))
    return found


def check_size(row: bytes, most: int) -> None:
    """Raise TooLarge if one event or label is larger than `most` bytes, where a number counts 8 bytes."""
    size = len(row)
    if size > most // 4:  # else it cannot hold so many numbers
        size = max(size, NUMBER_BYTES * row.count(b","))
    if size > most:
        raise TooLarge(f"it has {size} bytes, where a number counts 8; --largest-event is {most}")


def check_values(text: bytes) -> None:
    """Raise TooMany if a text in JSON has so many values that other requests would wait until it is read."""
    if (values := text.count(b",") + 1) > _MOST_VALUES:
        raise TooMany(f"{values} values in JSON; at most {_MOST_VALUES} are taken: send several requests")


def check_count(rows: int) -> None:
    """Raise TooMany if a request has too many rows."""
    if rows > MOST_ROWS:
        raise TooMany(f"{rows} rows; at most {MOST_ROWS} are taken: send several requests")
