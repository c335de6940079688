"""Looks at a stream again and again, until told to stop: each look as a page, a line or JSON."""

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
"""Takes the last good report, and why there is no newer one."""

_NONE: Final = Counted(0, exact=True)


class Looks:
    """Reports on one stream, each with what happened since the one before; a broker that is away is waited for."""

    def __init__(self, cluster: Cluster, names: Names, home: Path, typed: Typed) -> None:
        self._cluster, self._names, self._home, self._typed = cluster, names, home, typed
        self._observer: Observer | None = None
        self._before: tuple[StreamSnapshot, float] | None = None

    def next(self) -> Report:
        """Look once. KafkaError or NoBroker where the cluster does not answer; the next look begins anew."""
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
        """Let go of the clients; what was seen last stays, for the rates."""
        if self._observer is not None:
            self._observer.close()
            self._observer = None


def watch(looks: Looks, stop: Event, seconds: float, show: Show) -> None:
    """Look every so many seconds until `stop`; a look that fails is said, and the last good one stays."""
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
    """Lend the terminal's other screen, which is gone afterwards as if nothing had been shown."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(Page(None, "looking …"), console=console, screen=True, auto_refresh=False) as live:
        yield lambda report, why: live.update(Page(report, why or f"every {seconds:g} s"), refresh=True)
