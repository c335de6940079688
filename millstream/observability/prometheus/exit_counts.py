"""Exit counts of a role's processes, kept in a file because an ended process cannot be scraped."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec


class ExitCounts(msgspec.Struct):
    """Contents of the file: ends by exit code, failed transactions, and a flag for a running process."""

    ends: dict[str, int] = {}
    aborted: int = 0
    runs: bool = False


_read: Final = msgspec.json.Decoder(ExitCounts).decode


class Ends:
    """Reads and writes the file. Its errors are ignored, because it is only informative."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.told = ExitCounts()

    def begin(self) -> None:
        """Read the file and note that a process runs; finding that note at the start means the last one was killed."""
        try:
            self.told = _read(self._path.read_bytes())
        except (OSError, msgspec.MsgspecError):
            self.told = ExitCounts()
        if self.told.runs:
            self._count("killed")
        self.told.runs = True
        self._write()

    def aborted(self) -> None:
        """Count a failed transaction."""
        self.told.aborted += 1
        self._write()

    def end(self, code: int) -> None:
        """Count this process's end by its exit code."""
        self._count(str(code))
        self.told.runs = False
        self._write()

    def _count(self, code: str) -> None:
        self.told.ends[code] = self.told.ends.get(code, 0) + 1

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(msgspec.json.encode(self.told))
            new.replace(self._path)
        except OSError:
            pass
