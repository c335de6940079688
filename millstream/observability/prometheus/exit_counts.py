"""How the processes of a role ended, one after another: kept in a file, for who ends cannot be scraped any more."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec


class ExitCounts(msgspec.Struct):
    """What the file holds: ends by exit code, transactions that came to nothing, and whether one runs."""

    ends: dict[str, int] = {}
    aborted: int = 0
    runs: bool = False


_read: Final = msgspec.json.Decoder(ExitCounts).decode


class Ends:
    """The file. That it cannot be read or written is no reason not to work: it is for people to look at only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.told = ExitCounts()

    def begin(self) -> None:
        """Take over what is written, and note that a process runs: who finds that note was not told of the end."""
        try:
            self.told = _read(self._path.read_bytes())
        except (OSError, msgspec.MsgspecError):
            self.told = ExitCounts()
        if self.told.runs:
            self._count("killed")
        self.told.runs = True
        self._write()

    def aborted(self) -> None:
        """Note that a transaction came to nothing."""
        self.told.aborted += 1
        self._write()

    def end(self, code: int) -> None:
        """Note how this process ends."""
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
