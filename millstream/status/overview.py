"""All streams of a cluster, or of a prefix on it: how each is, and what needs a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millstream.reading.topic_readers import Counted
from millstream.status import report as stream_status
from millstream.status.group_metadata import recalled
from millstream.status.report import Report, Typed, free_disk
from millstream.status.snapshot import Observer
from runtime.kafka_client.cluster import KafkaAccessDenied
from runtime.kafka_client.errors import KafkaError, described
from schemas.topics import NAME, Names

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from runtime.kafka_client.cluster import Cluster

_OF_A_STREAM: Final = ("models", "examples", "decisions")
"""Kinds of topics that every stream has of its own; together they are of no other program."""


@dataclass(frozen=True)
class StreamState:
    """One stream. `report` is `None` if it could not be looked at; then `why` is the reason."""

    stream: str
    report: Report | None
    why: str = ""

    @property
    def state(self) -> str:
        """Whether its roles are at work and it learns, in a few words."""
        if self.report is None:
            return "unknown"
        down = [stage.role for stage in self.report.stages if stage.processes == 0]
        if len(down) == len(self.report.stages):
            return "stopped"
        model = self.report.model
        if down:
            return f"no {', '.join(down)}"
        if model.full or model.paused:
            return "learning stopped" if model.full else "learning paused"
        return "at work"

    @property
    def needs(self) -> list[str]:
        """What a person should see to, one line each."""
        if self.report is None:
            return [f"cannot be looked at: {self.why}"]
        if self.state != "stopped":
            return list(self.report.alerts)
        not_running = {f"no {stage.role} is running" for stage in self.report.stages}
        return [*(each for each in self.report.alerts if each not in not_running), "no role is running"]

    @property
    def served(self) -> str | None:
        """The first served metric against the better baseline; `None` if nothing can be compared."""
        found = None if self.report is None else self.report.model.quality
        return None if found is None else found.verdict

    def plain(self) -> dict[str, Any]:
        """Return it for JSON: the report as `millstream status STREAM --json` has it, and this."""
        told: dict[str, Any] = {} if self.report is None else stream_status.as_json(self.report)
        return {**told, "stream": self.stream, "state": self.state, "needs": self.needs}


def streams(topics: Iterable[str], prefix: str) -> list[str]:
    """Return the names of the streams among these topics, sorted.

    >>> streams(["a-fraud.models", "a-fraud.examples", "a-fraud.decisions", "b.models", "x"], "a-")
    ['fraud']
    """
    there = set(topics)
    ends = f".{_OF_A_STREAM[0]}"
    names = {topic.removeprefix(prefix).removesuffix(ends) for topic in there if topic.startswith(prefix)}
    return sorted(
        name
        for name in names
        if NAME.fullmatch(name) and all(f"{prefix}{name}.{kind}" in there for kind in _OF_A_STREAM)
    )


def found_streams(cluster: Cluster, prefix: str) -> list[str]:
    """Return the names of the streams of a prefix on the cluster, sorted."""
    with closing(cluster.consumer()) as consumer:
        return streams(consumer.topics(), prefix)


def overview(
    cluster: Cluster, settings: Settings, found: list[str], progress: Callable[[int, int], None]
) -> Iterator[StreamState]:
    """Yield the state of each stream; one that cannot be looked at does not hide the others.

    Parameters
    ----------
    progress
        Told after each stream how many are done, of how many.
    """
    for number, name in enumerate(found, 1):
        try:
            yield StreamState(name, _look(cluster, settings, settings.names(name)))
        except (KafkaError, KafkaAccessDenied) as error:
            yield StreamState(name, None, described(error) if isinstance(error, KafkaError) else str(error))
        progress(number, len(found))


def _look(cluster: Cluster, settings: Settings, names: Names) -> Report:
    with Observer(cluster, recalled(cluster, names), settings.state(names)) as observer:
        now = observer.look()
        letters = observer.dead_letters() if "dead-letters" not in now.missing else Counted(0, exact=True)
    typed = Typed(names.stream, "FILE.py")
    disk = free_disk(settings.home)
    return stream_status.report(now, names.stream, cluster.bootstrap, disk, letters=letters, typed=typed)
