"""A worker process of a spool: logs what it is told on its standard input, and says what became of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from server.spool.entries import SpooledRecord
from server.spool.spool import Conflict, Logged, Made, Pending, Repeated, Spool

ROOT = Path(__file__).parents[1]


class Worker:
    """Such a process, in a test."""

    def __init__(self, path: Path, failpoints: str = "") -> None:
        environment = {**os.environ, "MILLSTREAM_FAILPOINTS": failpoints, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "spool_worker", str(path)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.lane = self._read()

    def write(self, *asked: tuple[str, str | None, str]) -> list[list[Any]] | None:
        """Log a text, its id and its content each; return what became of each, `None` if the process was killed."""
        self._pipe(self.process.stdin).write(json.dumps(asked) + "\n")
        self._pipe(self.process.stdin).flush()
        found: list[list[Any]] | None = self._read()
        return found

    def _read(self) -> Any:
        line = self._pipe(self.process.stdout).readline()
        return json.loads(line) if line else None

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe

    def end(self) -> None:
        """End it, if it is still there."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            self._pipe(pipe).close()


def _pending(text: str, key: str | None, content: str) -> Pending:
    return Pending(
        lambda number: Made((SpooledRecord("predictions", 0, text.encode(), None),), f"{text}@{number}".encode()),
        None if key is None else key.encode().ljust(16),
        content.encode().ljust(16),
    )


def _told(result: object) -> list[Any]:
    if isinstance(result, Logged):
        return ["logged", result.answer.decode()]
    if isinstance(result, Repeated):
        return ["repeated", result.answer.decode()]
    return ["conflict"] if isinstance(result, Conflict) else ["failed", str(result)]


def main() -> None:
    """Answer line by line."""
    spool = Spool(Path(sys.argv[1]))
    print(spool.lane, flush=True)
    for line in sys.stdin:
        results = spool.write([_pending(*each) for each in json.loads(line)])
        print(json.dumps([_told(each) for each in results]), flush=True)


if __name__ == "__main__":
    main()
