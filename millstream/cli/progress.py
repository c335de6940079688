"""Progress on standard error: a bar on a terminal, elsewhere a line every few seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.progress import Progress

_EVERY_S: Final = 5.0


class Bar:
    """Shows the progress of `what` from 0 to a total that may be unknown.

    Examples
    --------
    with Bar("events") as bar:
        bar.show(done=10, total=100, note="2 resent")
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._told = time.monotonic()
        self._progress: Progress | None = None
        self._task: Any = None

    def __enter__(self) -> Bar:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._progress = Progress(*columns, console=Console(stderr=True))
            self._task = self._progress.add_task(self._what, total=None, rate="", note="")
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, done: int, total: int | None, note: str = "") -> None:
        """Show the present progress; it may be called at any rate."""
        if self._progress is not None:
            speed = self._progress.tasks[0].finished_speed or self._progress.tasks[0].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            self._progress.update(self._task, completed=done, total=total, rate=rate, note=note)
        elif time.monotonic() - self._told >= _EVERY_S:
            self._told = time.monotonic()
            of = "" if total is None else f" of {total:,}"
            print(f"{done:,}{of} {self._what}{', ' + note if note else ''}", file=sys.stderr, flush=True)
