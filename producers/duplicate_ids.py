"""Counting event ids that come again in one source."""

from __future__ import annotations

from array import array


class RepeatedIds:
    """Counts rows with the id of a row before them, in 8 bytes a row.

    >>> ids = RepeatedIds()
    >>> for event_id in ("a", "b", "a"):
    ...     ids.add(event_id)
    >>> ids.count()
    1
    """

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, event_id: str) -> None:
        """Take one more row into account."""
        self._hashes.append(hash(event_id))

    def count(self) -> int:
        """Return how many rows repeat an id."""
        import numpy as np

        return len(self._hashes) - len(np.unique(np.array(self._hashes)))
