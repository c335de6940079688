"""Which topic a process read last, kept on its own disk.

Deleting a topic, Kafka forgets every group's place in it. A group that never had one begins at the beginning: so would
one whose topic was made again, and nobody would be told.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec


class TopicMemory:
    """Names and ids of topics.

    Parameters
    ----------
    path
        The file; where it cannot be read nothing is remembered. `None` remembers for as long as this object lives.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._ids: dict[str, str] = {}
        if path is not None:
            with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                self._ids = msgspec.json.decode(path.read_bytes(), type=dict[str, str])

    def id_of(self, topic: str) -> str:
        """Return the id that the topic of this name had, empty where none is remembered."""
        return self._ids.get(topic, "")

    def remember(self, topic: str, topic_id: str) -> None:
        """Note that this is the topic that is read."""
        if self._ids.get(topic) == topic_id:
            return
        self._ids[topic] = topic_id
        if self._path is not None:
            with contextlib.suppress(OSError):  # a role works without
                self._path.parent.mkdir(parents=True, exist_ok=True)
                new = self._path.with_suffix(".new")
                new.write_bytes(msgspec.json.encode(self._ids))
                new.replace(self._path)
