"""Metrics of one process for the process that supervises it: the text format, at a Unix socket."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

_SECONDS: Final = 2.0
_MOST_BYTES: Final = 4 << 20


class LocalSocket:
    """Writes the metrics to each that connects, until it is closed, or the process ends.

    Raises
    ------
    OSError
        If it cannot listen there.
    """

    def __init__(self, path: Path, registry: CollectorRegistry) -> None:
        self._path = path
        self._registry = registry
        with suppress(FileNotFoundError):
            path.unlink()  # of a process that was killed
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(os.fspath(path))
        self._socket.listen(4)
        threading.Thread(target=self._serve, name="metrics", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            with connection, suppress(OSError):
                connection.settimeout(_SECONDS)
                connection.sendall(generate_latest(self._registry))

    def close(self) -> None:
        """Close the socket."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def read(path: Path) -> str | None:
    """Return the metrics of the process that listens there, `None` if none answers."""
    parts: list[bytes] = []
    size = 0
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(os.fspath(path))
            while (part := connection.recv(1 << 16)) and size < _MOST_BYTES:
                parts.append(part)
                size += len(part)
    except OSError:
        return None
    return b"".join(parts).decode()
