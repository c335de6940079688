"""Instrumentation of a server, in addition to that of a predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping


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
