"""Dead letters of events and labels that came over HTTP, not from a topic."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from schemas.dead_letters import DeadLetter
from schemas.json_text import NO_JSON, json_text
from server.spool.folder import SOURCE
from server.uploads.folder import SOURCE as UPLOADED


class _Content(msgspec.Struct, frozen=True):
    features: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_content: Final = msgspec.json.Decoder(_Content)


def came_over_http(topic: str) -> bool:
    """Return whether a letter with this topic is of an event or a label that a server refused."""
    return topic.startswith(SOURCE)


def kind_of(value: bytes | None) -> Literal["features", "labels"] | None:
    """Return the kind of topic that takes what was refused; `None` for a raw message of an external topic.

    >>> kind_of(b'{"event_id": "a", "features": {"x": 1}}'), kind_of(b'{"event_id": "a", "value": true}')
    ('features', 'labels')
    """
    try:
        found = _content.decode(json_text(value or b""))
    except NO_JSON:
        return None
    if found.features is not msgspec.UNSET:
        return "features"
    return None if found.value is msgspec.UNSET else "labels"


def unfit(letter: DeadLetter, target: str, *, is_own: bool) -> str:
    """Return why no topic takes what is in a letter, with the solution; empty if `target` may take it."""
    if letter.topic.startswith(UPLOADED):
        return "rows of uploads are not in their letters: correct the file, and upload the corrected rows"
    if came_over_http(letter.topic) and kind_of(letter.value) == "features" and not is_own:
        return f"events of HTTP do not fit the external topic {target}: send them to a server again"
    return ""
