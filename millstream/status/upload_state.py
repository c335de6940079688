"""State of a stream's uploads on this machine, by their folder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from millstream.status.processes import is_released
from server.uploads.folder import UploadFolder


@dataclass(frozen=True)
class UploadState:
    """State of the uploads.

    Attributes
    ----------
    importers
        Number of importers at work.
    waiting
        Uploads that have come whole and are not imported.
    bytes
        Size of all uploads on disk.
    oldest_s
        Seconds since the oldest waiting one was begun, 0 if none waits.
    """

    importers: int
    waiting: int
    bytes: int
    oldest_s: float

    def line(self) -> str:
        """Return the state in one line."""
        since = f", the oldest for {self.oldest_s:.0f} s" if self.waiting else ""
        return f"{self.waiting} wait to be imported{since}; importers: {self.importers}"

    def needs(self) -> str | None:
        """Return what a person should look at, `None` if nothing."""
        if self.waiting and not self.importers:
            return f"{self.waiting} uploads wait, and no importer runs on this machine"
        return None


def look(path: Path) -> UploadState | None:
    """Return the state of the uploads in this folder, `None` if no server has made it."""
    if not path.is_dir():
        return None
    folder = UploadFolder(path)
    waiting = folder.waiting()
    lock = path / "importer.lock"
    # An id begins with the time, in ms.
    oldest_s = time.time() - int(waiting[0].id.partition("-")[0]) / 1000 if waiting else 0.0
    return UploadState(int(lock.exists() and not is_released(lock)), len(waiting), folder.bytes(), max(0.0, oldest_s))
