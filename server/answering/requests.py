"""Events and labels in the body of a request: the JSON of the topics, without an id if need be."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from schemas.codec import CodecError
from schemas.events import Event, JsonFeatures, features_of, not_json
from schemas.json_text import NO_JSON, json_text

_Time = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _EventRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    features: JsonFeatures
    event_id: str | None = None
    event_time: _Time = 0
    entity_key: str | None = None


class _Events(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    events: list[msgspec.Raw]


class _Labels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    labels: list[msgspec.Raw]


_event_row: Final = msgspec.json.Decoder(_EventRow)
_events: Final = msgspec.json.Decoder(_Events)
_labels: Final = msgspec.json.Decoder(_Labels)
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_event_row(text: bytes, unnamed: str, now_ms: int) -> Event:
    """Read one event; `unnamed` is its id if it has none, `now_ms` its time.

    >>> read_event_row(b'{"features": {"x": 1.5}}', "made-here", 7)
    Event(event_id='made-here', event_time=7, features={'x': 1.5}, entity_key=None)

    Raises
    ------
    CodecError
        If it is not an event in JSON.
    """
    text = json_text(text)
    try:
        found = _event_row.decode(text)
    except NO_JSON as error:
        raise CodecError(not_json("an event", error, text)) from error
    event_id = unnamed if found.event_id is None else found.event_id
    return Event(event_id, found.event_time or now_ms, features_of(found.features, text), found.entity_key)


def event_rows(body: bytes) -> list[bytes] | None:
    """Return the rows of a request with many events; `None` if it is a single one. Raises CodecError."""
    if b'"events"' not in body:
        return None
    return _rows(body, "events", _events)


def label_rows(body: bytes) -> list[bytes] | None:
    """Return the rows of a request with many labels; `None` if it is a single one. Raises CodecError."""
    if b'"labels"' not in body:
        return None
    return _rows(body, "labels", _labels)


def _rows(
    body: bytes, name: str, decoder: msgspec.json.Decoder[_Events] | msgspec.json.Decoder[_Labels]
) -> list[bytes] | None:
    text = json_text(body)
    try:
        if name not in _object.decode(text):
            return None  # it is the name of a feature, perhaps
        found = decoder.decode(text)
    except NO_JSON as error:
        raise CodecError(f'not {{"{name}": […]}} in JSON: {error}') from error
    return [bytes(each) for each in (found.events if isinstance(found, _Events) else found.labels)]


def lines(body: bytes) -> list[bytes]:
    """Return the rows of newline-delimited JSON; empty lines are left out."""
    return [line for line in body.split(b"\n") if line.strip()]
