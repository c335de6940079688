"""Which topic a process read last, and how far, kept on its own disk.

Deleting a topic, Kafka forgets every group's place in it; and some days after the last member of a group has gone it
forgets the group's places in topics that are still there. A group that never had one begins at the beginning: so would
one whose places are forgotten, and nobody would be told.
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
    """Names and ids of topics, and the places in them.

    Parameters
    ----------
    path
        The file; where it cannot be read nothing is remembered. `None` remembers for as long as this object lives.
        What other instances have left beside it counts for places: partitions move from one to the other.
    clock
        Seconds, monotonic.
    written
        Hears of each attempt to write the file: the path, and the error or `None`. The role works without it.
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
        """Return the id that the topic of this name had, empty where none is remembered."""
        known = self._topics.get(topic)
        return "" if known is None else known.id

    def place_of(self, topic: str, topic_id: str, partition: int) -> int | None:
        """Return the farthest place that was committed here in a partition of this very topic, `None` for none."""
        everybodys = [self._topics]
        if self._path is not None:
            family = self._path.name.partition("-")[0]
            everybodys += [_read(each) for each in self._path.parent.glob(f"{family}-*.json") if each != self._path]
        known = [topics[topic] for topics in everybodys if topic in topics]
        return max(
            (each.places[partition] for each in known if each.id == topic_id and partition in each.places), default=None
        )

    def remember(self, topic: str, topic_id: str, places: Mapping[int, int]) -> None:
        """Note that this is the topic that is read, and how far it is by partition.

        A topic or a partition that is new is written at once, how far it is every second: it is no more than a hint.
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
        """Write down what is remembered."""
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
        # Before the places were written, a file held ids alone.
        return {topic: _Read(each) if isinstance(each, str) else each for topic, each in found.items()}
    return {}
