"""Sample of a topic's newest messages: their format, and their values by path."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from millstream.reading import topic_readers
from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.sources.decoding import Decode, decoder, form_of
from schemas.sources.source import Format, Source

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.schema_registry import Registry

_DEEPEST: Final = 32
_MOST_PATHS: Final = 200
_PLAIN: Final = re.compile(r"[^.`\[\]]+")


class NoMessages(Exception):  # noqa: N818
    """A topic has no messages from which a stream file could be made; the message says why."""


@dataclass
class TopicSample:
    """Messages as rows of values.

    Attributes
    ----------
    format
        The format for `Source`.
    rows
        One dictionary for each message: its values by path; nested ones as ``payment.amount``.
    left_out
        Paths whose values cannot be features, with the reason.
    unreadable
        Number of messages that could not be read, and the reason for the first.
    """

    topic: str
    format: Format
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unreadable: tuple[int, str] = (0, "")

    @property
    def paths(self) -> list[str]:
        """Return all paths in the order of their first occurrence."""
        return list(dict.fromkeys(path for row in self.rows for path in row))

    def values(self, path: str) -> list[Any]:
        """Return the values at a path, message by message; `None` for a missing value."""
        return [row.get(path) for row in self.rows]


def sample(cluster: Cluster, topic: str, registry: Registry | None, count: int) -> TopicSample:
    """Read the newest `count` messages of a topic, without joining a group.

    Raises
    ------
    NoMessages
        If there is no such topic, or it has no message that can be read.
    """
    if topic not in cluster.topic_info(topic):
        raise NoMessages(f"there is no topic {topic} on {cluster.bootstrap}")
    return taken_apart(topic, topic_readers.records(cluster, topic, count, newest=True), registry)


def taken_apart(topic: str, records: list[Record], registry: Registry | None) -> TopicSample:
    """Return the values of `records` by path. Raises NoMessages if none can be read."""
    decode = decoder(Source(topic=topic), registry)
    records = [record for record in records if record.value]
    forms: set[Format] = set()
    found = TopicSample(topic, "auto")
    for record in records:
        message = _read(decode, record, found)
        if message is None:
            continue
        forms.add(form_of(record.value or b"", record.headers))
        row: dict[str, Any] = {}
        for path, value in _values(message, "", 0):
            _put(row, path, value, found)
        found.rows.append(row)
    if not records:
        raise NoMessages(f"{topic} holds no messages to look at: write the stream file by hand, or send some first")
    if not found.rows:
        raise NoMessages(f"none of the newest {len(records)} messages of {topic} can be read: {found.unreadable[1]}")
    if len(forms) == 1:
        found.format = forms.pop()
    return found


def _read(decode: Decode, record: Record, found: TopicSample) -> Mapping[str, Any] | None:
    try:
        message = decode(record.value or b"", record.headers)
        if isinstance(message, Mapping):
            return message
        why = "it is no record with names in it"
    except CodecError as error:
        why = str(error)
    number, first = found.unreadable
    found.unreadable = number + 1, first or why
    return None


def _values(message: Mapping[str, Any], above: str, depth: int) -> Iterator[tuple[str, Any]]:
    for name, value in message.items():
        if "`" in name or not name:
            continue  # a path cannot contain such a name
        path = f"{above}.{_quoted(name)}" if above else _quoted(name)
        if isinstance(value, Mapping):
            if depth < _DEEPEST:
                yield from _values(value, path, depth + 1)
        else:
            yield path, value


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else f"`{name}`"


def _put(row: dict[str, Any], path: str, value: Any, found: TopicSample) -> None:
    why = _why_no_feature(value)
    if why is None and path not in found.left_out:
        if len(row) < _MOST_PATHS:
            row[path] = value
        else:
            found.left_out.setdefault(path, f"beyond the first {_MOST_PATHS} values")
    elif why is not None:
        found.left_out[path] = why
        for each in found.rows:
            each.pop(path, None)


def _why_no_feature(value: Any) -> str | None:
    if isinstance(value, bytes):
        return "bytes"
    if isinstance(value, list) and not all(_is_number(each) for each in value):
        return "a list of more than numbers; [0] takes one value out"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
