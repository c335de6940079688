"""A loop that is behind, and whose commit is under way while the next turn is processed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from loop_helpers import SECONDS, Copier, Running, settings, until
from proxy import Proxy, Rule

from consumers.loop.instrumentation import Meter
from consumers.loop.processor import Assignment, Start
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition

OVERLAPPED = 3
"""The turn that is processed while the commit of the turn before is under way."""


class Counts(Meter):
    """Notes what the loop tells of its turns and commits, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def processed(self, *told: Any) -> None:
        self.told.append("processed")

    def committed(self, *told: Any) -> None:
        self.told.append("committed")

    def overlapped(self) -> None:
        self.told.append("overlapped")

    def aborted(self) -> None:
        self.told.append("aborted")


class Noting(Copier):
    """A copier that notes when it is called."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.calls: list[str] = []

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self.calls.append("assigned")
        return super().assigned(assignment)

    def process(self, batch: Batch) -> list[Output]:
        self.calls.append("process")
        return super().process(batch)

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        self.calls.append("committed")
        super().committed(places)


class Turns(Noting):
    """A copier whose third turn waits, so that a test can act while the second one's commit is under way.

    Parameters
    ----------
    before
        Called in the second turn, when no commit is under way at the broker: what the proxy does from then on, it does
        to the commit of this turn.
    after
        Called at the end of the third turn, once the test lets it go on.
    """

    def __init__(
        self, prefix: str, proxy: Proxy, before: Callable[[], object], after: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(prefix)
        self._proxy, self._before, self._after = proxy, before, after
        self.turns = 0
        self.reached, self.go_on = threading.Event(), threading.Event()

    def process(self, batch: Batch) -> list[Output]:
        outputs = super().process(batch)
        self.turns += 1
        if self.turns == OVERLAPPED - 1:
            # The first turn was full, so its commit is under way, and `committed` has not been called.
            assert self._proxy.wait_for("EndTxn", len(self.commits) + 1, stage="answered")
            self._before()
        if self.turns == OVERLAPPED:
            self.reached.set()
            assert self.go_on.wait(SECONDS)
            self._after()
        return outputs


@contextmanager
def overlapping(
    proxy: Proxy,
    prefix: str,
    rule: Callable[[], Rule],
    after: Callable[[], object] = lambda: None,
    **changes: Any,
) -> Iterator[tuple[Running, Counts]]:
    """A loop in its third turn, to whose second commit the proxy does what `rule` says: proof that they overlap."""
    rules: list[Rule] = []
    turns = Turns(prefix, proxy, lambda: rules.append(rule()), after)
    meter = Counts()
    run = Running(Cluster(proxy.bootstrap), settings(prefix, **changes), turns, meter)
    try:
        until(lambda: (turns.reached.is_set() and rules[0].applied) or run.ended, "a turn that overlaps")
        assert not run.ended, run.failure
        assert turns.calls[-3:] == ["process", "committed", "process"], "the second commit is under way"
        yield run, meter
    finally:
        turns.go_on.set()
        proxy.release()
        run.loop.stop()
        run.wait()
