"""File on the process's own disk with the ids of the topics that it read, and the last offsets.

When a topic is deleted, Kafka deletes every group's offsets in it; some days after a group's last member has left, it
also deletes the group's offsets in topics that still exist. A new group begins at the beginning of a topic. Without
this file, a group with lost offsets would do the same, unnoticed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

_WRITE_SECONDS: Final = 1.0


class _Read(msgspec.Struct):
    """A topic's id, and the next offset by partition."""

    id: str
    places: dict[int, int] = {}


class TopicMemory:
    """Names and ids of topics, and the last offsets in them.

    Parameters
    ----------
    path
        The file; an unreadable file counts as empty. With `None` the memory lasts as long as this object.
        Files of other instances in the same folder also count for offsets, because partitions move between instances.
    clock
        Seconds, monotonic.
    written
        Called after each attempt to write the file, with the path and the error or `None`. The role works without
        the file.
    """

    def __init__(
        self,
        path: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        written: Callable[[Path, OSError | None], None] = lambda path, error: None,
    ) -> None:
        self._path = path
        self._written = written
        self._clock = clock
        self._topics: dict[str, _Read] = {} if path is None else _read(path)
        self._written_at: float | None = None

    def id_of(self, topic: str) -> str:
        """Return the remembered id of the topic of this name, empty if there is none."""
        known = self._topics.get(topic)
        return "" if known is None else known.id

    def place_of(self, topic: str, topic_id: str, partition: int) -> int | None:
        """Return the largest offset committed here in a partition of the topic with this id, `None` if none."""
        everybodys = [self._topics]
        if self._path is not None:
            family = self._path.name.partition("-")[0]
            everybodys += [_read(each) for each in self._path.parent.glob(f"{family}-*.json") if each != self._path]
        known = [topics[topic] for topics in everybodys if topic in topics]
        return max(
            (each.places[partition] for each in known if each.id == topic_id and partition in each.places), default=None
        )

    def remember(self, topic: str, topic_id: str, places: Mapping[int, int]) -> None:
        """Remember the topic's id and the offsets by partition.

        A new topic or partition is written at once, changed offsets every second: they are only a hint.
        """
        known = self._topics.get(topic)
        if known is None or known.id != topic_id:
            known = self._topics[topic] = _Read(topic_id)
            self._written_at = None
        if not places.keys() <= known.places.keys():
            self._written_at = None
        known.places.update(places)
        if self._written_at is None or self._clock() >= self._written_at + _WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the file."""
        self._written_at = self._clock()
        if self._path is None or not self._topics:
            return
        failed: OSError | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            new.write_bytes(msgspec.json.encode(self._topics))
            new.replace(self._path)
        except OSError as error:
            failed = error
        self._written(self._path, failed)


_decode: Final = msgspec.json.Decoder(dict[str, _Read | str]).decode


def _read(path: Path) -> dict[str, _Read]:
    with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
        found = _decode(path.read_bytes())
        # An older file contains only the ids, without offsets.
        return {topic: _Read(each) if isinstance(each, str) else each for topic, each in found.items()}
    return {}
