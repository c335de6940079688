"""Instrumentation of a server, in addition to that of a predictor, and of an importer of uploads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from consumers.loop.instrumentation import Meter


class ServerMeter:
    """Receives where a server's counts can be read, and ignores it."""

    def serves(
        self,
        requests: Callable[[], Mapping[tuple[str, int], int]],
        spool_bytes: Callable[[], int],
        unlogged: Callable[[], int] = lambda: 0,
    ) -> None:
        """The server counts its requests by path and status and its unlogged answers, and its spool has a size.

        Any thread may ask for these.
        """


class ImporterMeter(Meter):
    """Receives what becomes of uploads, and ignores it."""

    def uploads_waiting(self, count: int) -> None:
        """So many whole uploads are not imported yet."""

    def uploaded(self, state: str, taken: int, refused: int) -> None:
        """An upload has ended in this state, with so many rows that are new examples and so many refused ones."""
