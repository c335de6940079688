"""Repeated reports on a stream, until told to stop: each as a page, a line or JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer
from typing import Final

from millstream.reading.topic_readers import Counted
from millstream.status import report
from millstream.status.processes import started_again
from millstream.status.render import Page
from millstream.status.report import Report, Typed
from millstream.status.snapshot import Observer, StreamSnapshot
from millstream.status.this_machine import with_processes_here
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import KafkaError, described
from schemas.topics import Names

Show = Callable[[Report | None, str | None], None]
"""Shows the last good report, and the reason why there is no newer one."""

_NONE: Final = Counted(0, exact=True)
_SHOWN_MS: Final = 60_000  # for so long a process counts as just started again
_PATIENCE_S: Final = 5.0  # after which a look that is under way is said to get no answer


class Looks:
    """Reports on one stream, each with what happened since the previous one; waits for an unavailable broker.

    Parameters
    ----------
    home, state
        Millstream's folder, and that of the stream's local state.
    """

    def __init__(self, cluster: Cluster, names: Names, home: Path, state: Path, typed: Typed) -> None:
        self._cluster, self._names, self._home, self._typed = cluster, names, home, typed
        self._state = state
        self._started_again: dict[str, int] = {}
        self._observer: Observer | None = None
        self._before: tuple[StreamSnapshot, float] | None = None

    def next(self) -> Report:
        """Return a report. Raises KafkaError or NoBroker if the cluster does not answer; the next call reconnects."""
        try:
            self._cluster.require()  # the clients of a look before would try for half a minute
            observer = self._observer = self._observer or Observer(self._cluster, self._names, self._state)
            now, at = observer.look(), time.monotonic()
            letters = observer.dead_letters() if "dead-letters" not in now.missing else _NONE
        except (KafkaError, NoBroker):
            self.close()
            raise
        before, since = self._before or (None, at)
        self._before = now, at
        disk = report.free_disk(self._home)
        stream, bootstrap = self._names.stream, self._cluster.bootstrap
        found = report.report(now, stream, bootstrap, disk, before, at - since, letters=letters, typed=self._typed)
        return with_processes_here(replace(found, started_again=self._recent(before, now)), self._state)

    def _recent(self, before: StreamSnapshot | None, now: StreamSnapshot) -> dict[str, int]:
        """Return the processes that were started again in the last minute, and when that was seen."""
        if before is not None:
            for name in started_again(before.processes, now.processes, self._names):
                self._started_again[name] = now.at_ms
        kept = {name: at for name, at in self._started_again.items() if now.at_ms - at < _SHOWN_MS}
        self._started_again = kept
        return dict(kept)

    def close(self) -> None:
        """Close the clients; keep the last snapshot for the rates."""
        if self._observer is not None:
            self._observer.close()
            self._observer = None


def watch(looks: Looks, stop: Event, seconds: float, show: Show) -> None:
    """Show a report every `seconds` until `stop`; on a failure, show the last good one with the reason."""
    last: Report | None = None
    while not stop.is_set():
        slow = Timer(_PATIENCE_S, show, (last, f"cannot look now: Kafka has not answered for {_PATIENCE_S:g} s"))
        slow.daemon = True
        slow.start()
        try:
            last = looks.next()
            why = None
        except (KafkaError, NoBroker) as error:
            why = f"cannot look now: {described(error)}"
        finally:
            slow.cancel()
        slow.join()  # or it might speak after the answer
        show(last, why)
        stop.wait(seconds)


@contextmanager
def page(seconds: float) -> Iterator[Show]:
    """Yield a function that shows reports on the terminal's alternate screen, which is closed afterwards."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(Page(None, "looking …"), console=console, screen=True, auto_refresh=False) as live:

        def show(report: Report | None, why: str | None) -> None:
            live.update(Page(report, why or f"every {seconds:g} s", stale=why is not None), refresh=True)

        yield show
