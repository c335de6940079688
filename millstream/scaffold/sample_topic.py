"""What the newest messages of a topic hold: how they are written, and which values stand at which paths."""

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
    """A topic shows nothing that a stream file could be made of; the message says why."""


@dataclass
class TopicSample:
    """Messages taken apart.

    Attributes
    ----------
    format
        As a `Source` takes it.
    rows
        A message each: its values by their paths; those of records by ``payment.amount``.
    left_out
        Paths whose values can be no features, and why.
    unreadable
        How many messages could not be read, and why the first of them.
    """

    topic: str
    format: Format
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unreadable: tuple[int, str] = (0, "")

    @property
    def paths(self) -> list[str]:
        """All paths, in the order in which they were met."""
        return list(dict.fromkeys(path for row in self.rows for path in row))

    def values(self, path: str) -> list[Any]:
        """Return what stands at a path, message by message; `None` where nothing does."""
        return [row.get(path) for row in self.rows]


def sample(cluster: Cluster, topic: str, registry: Registry | None, count: int) -> TopicSample:
    """Look at the newest `count` messages of a topic, in no group.

    Raises
    ------
    NoMessages
        Where there is no such topic, or no message on it, or none that can be read.
    """
    if topic not in cluster.topic_info(topic):
        raise NoMessages(f"there is no topic {topic} on {cluster.bootstrap}")
    return taken_apart(topic, topic_readers.records(cluster, topic, count, newest=True), registry)


def taken_apart(topic: str, records: list[Record], registry: Registry | None) -> TopicSample:
    """Return the messages of `records` by their paths. NoMessages where none can be read."""
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
            continue  # no path can name it
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
