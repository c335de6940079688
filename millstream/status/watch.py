"""Repeated reports on a stream, until told to stop: each as a page, a line or JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Final

from millstream.reading.topic_readers import Counted
from millstream.status import report
from millstream.status.render import Page
from millstream.status.report import Report, Typed
from millstream.status.snapshot import Observer, StreamSnapshot
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import KafkaError, described
from schemas.topics import Names

Show = Callable[[Report | None, str | None], None]
"""Shows the last good report, and the reason why there is no newer one."""

_NONE: Final = Counted(0, exact=True)


class Looks:
    """Reports on one stream, each with the rates since the previous one; waits for an unavailable broker."""

    def __init__(self, cluster: Cluster, names: Names, home: Path, typed: Typed) -> None:
        self._cluster, self._names, self._home, self._typed = cluster, names, home, typed
        self._observer: Observer | None = None
        self._before: tuple[StreamSnapshot, float] | None = None

    def next(self) -> Report:
        """Return a report. Raises KafkaError or NoBroker if the cluster does not answer; the next call reconnects."""
        try:
            observer = self._observer = self._observer or Observer(self._cluster, self._names)
            now, at = observer.look(), time.monotonic()
            letters = observer.dead_letters() if "dead-letters" not in now.missing else _NONE
        except (KafkaError, NoBroker):
            self.close()
            raise
        before, since = self._before or (None, at)
        self._before = now, at
        disk = report.free_disk(self._home)
        stream, bootstrap = self._names.stream, self._cluster.bootstrap
        return report.report(now, stream, bootstrap, disk, before, at - since, letters=letters, typed=self._typed)

    def close(self) -> None:
        """Close the clients; keep the last snapshot for the rates."""
        if self._observer is not None:
            self._observer.close()
            self._observer = None


def watch(looks: Looks, stop: Event, seconds: float, show: Show) -> None:
    """Show a report every `seconds` until `stop`; on a failure, show the last good one with the reason."""
    last: Report | None = None
    while not stop.is_set():
        try:
            last = looks.next()
            show(last, None)
        except (KafkaError, NoBroker) as error:
            show(last, f"cannot look now: {described(error)}")
        stop.wait(seconds)


@contextmanager
def page(seconds: float) -> Iterator[Show]:
    """Yield a function that shows reports on the terminal's alternate screen, which is closed afterwards."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(Page(None, "looking …"), console=console, screen=True, auto_refresh=False) as live:
        yield lambda report, why: live.update(Page(report, why or f"every {seconds:g} s"), refresh=True)
