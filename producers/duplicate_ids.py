"""Count of repeated event ids in one source."""

from __future__ import annotations

from array import array


class RepeatedIds:
    """Counts rows that repeat an earlier id; it needs 8 bytes for each row.

    >>> ids = RepeatedIds()
    >>> for event_id in ("a", "b", "a"):
    ...     ids.add(event_id)
    >>> ids.count()
    1
    """

    def __init__(self) -> None:
        self._hashes = array("q")

    def add(self, event_id: str) -> None:
        """Add the id of one row."""
        self._hashes.append(hash(event_id))

    def count(self) -> int:
        """Return the number of rows that repeat an id."""
        import numpy as np

        return len(self._hashes) - len(np.unique(np.array(self._hashes)))
