"""The steps of a turn inside a role, timed around the calls of its Kafka clients: latency and processor time by record.

The role writes its turns to a file when it ends. Times are ns of the machine's monotonic clock, which sender, role and
reader share.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from millstream.config.settings import Settings
from runtime.kafka_client.client import Admin, Consumer, Library, TransactionalProducer
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Batch

STEPS: Final = (
    "waits for the turn before",
    "sent to read",
    "read to processed",
    "offsets",
    "records acknowledged",
    "EndTxn",
    "EndTxn to readable",
)
"""The steps of an event, in order: they sum to its latency."""
_ALMOST: Final = 0.8
_MARKS: Final = ("asked", "read", "begun", "offsets", "sent", "committed")


@dataclass
class Turns:
    """The turns of one role.

    Attributes
    ----------
    done
        The keys of each turn, and when it passed each mark.
    polls
        At each poll: the number of records that were read before, and the processor seconds of the process so far.
    """

    done: list[dict[str, Any]] = field(default_factory=list)
    polls: list[tuple[int, float]] = field(default_factory=list)
    now: dict[str, Any] = field(default_factory=dict)
    records: int = 0

    def mark(self, name: str) -> None:
        """Note that the current turn has come so far."""
        self.now[name] = time.monotonic_ns()

    def polled(self, asked: int, batch: Batch) -> None:
        """Begin a turn with these records."""
        read = time.monotonic_ns()
        keys = [record.key.decode() for records in batch.values() for record in records if record.key]
        self.now = {"keys": keys, "asked": asked, "read": read}
        self.records += sum(map(len, batch.values()))

    def committed(self) -> None:
        """End a turn; one without records is left out."""
        self.mark("committed")
        if self.now.get("keys"):
            self.done.append(self.now)
        self.now = {}


class _Timed:
    """A client of any library: what is not timed goes to it unchanged."""

    def __init__(self, client: Any, turns: Turns) -> None:
        self._client = client
        self._turns = turns

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


class _TimedConsumer(_Timed):
    def poll(self, timeout_ms: int = 0, max_records: int | None = None) -> Batch:
        turns = self._turns
        if not turns.polls or turns.polls[-1][0] < turns.records:
            turns.polls.append((turns.records, time.process_time()))
        asked = time.monotonic_ns()
        batch: Batch = self._client.poll(timeout_ms=timeout_ms, max_records=max_records)
        turns.polled(asked, batch)
        return batch


class _TimedProducer(_Timed):
    def begin_transaction(self) -> None:
        self._turns.mark("begun")
        self._client.begin_transaction()

    def send_offsets_to_transaction(self, *given: Any) -> None:
        self._client.send_offsets_to_transaction(*given)
        self._turns.mark("offsets")

    def send_all(self, *given: Any) -> None:
        self._client.send_all(*given)
        self._turns.mark("sent")

    def commit_transaction(self) -> None:
        self._client.commit_transaction()
        self._turns.committed()


class TimedLibrary:
    """A `Library` whose group consumer and transactional producer note their steps."""

    def __init__(self, library: Library, turns: Turns) -> None:
        self._library = library
        self._turns = turns

    @property
    def name(self) -> str:
        return self._library.name

    def consumer(self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]) -> Consumer:
        made = self._library.consumer(bootstrap, options, settings)
        return cast(Consumer, _TimedConsumer(made, self._turns)) if "group_id" in settings else made

    def producer(
        self, bootstrap: str, options: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> TransactionalProducer:
        made = self._library.producer(bootstrap, options, settings)
        timed = "transactional_id" in settings
        return cast(TransactionalProducer, _TimedProducer(made, self._turns)) if timed else made

    def admin(self, bootstrap: str, options: Mapping[str, Any]) -> Admin:
        return self._library.admin(bootstrap, options)


@dataclass(frozen=True)
class TimedSettings(Settings):
    """Settings whose clients note their steps in `turns`."""

    turns: Turns = field(default_factory=Turns)

    def cluster(self) -> Cluster:
        found = super().cluster()
        return replace(found, library=TimedLibrary(found.library, self.turns))


def write(turns: Turns, file: Path) -> None:
    """Write the turns of a role that has ended."""
    file.write_text(json.dumps({"turns": turns.done, "polls": turns.polls}))


def processor_rate(file: Path, first: int, last: int) -> float:
    """Return records by processor second of the whole process, after `first` records, to about the `last` one.

    A role that is told to end may not poll again after its last records. ValueError if it has read far fewer.
    """
    polls = json.loads(file.read_text())["polls"]
    began = next(((n, at) for n, at in polls if n >= first), None)
    ended = polls[-1]
    if began is None or ended[0] < _ALMOST * last:
        raise ValueError(f"{file.name}: only {ended[0]} of {last} records were read")
    return float((ended[0] - began[0]) / (ended[1] - began[1]))


def by_event(file: Path, arrived: Mapping[str, int]) -> list[list[float]]:
    """Return the ms of each of `STEPS` for each event that has arrived; `arrived` has the time of arrival by key."""
    rows = []
    for turn in json.loads(file.read_text())["turns"]:
        asked, read, begun, offsets, sent, committed = (turn.get(mark, 0) for mark in _MARKS)
        if not begun:
            continue  # its commit ran beside the next turn, which has its marks
        for key in turn["keys"]:
            if key not in arrived:
                continue
            born = int(key)
            waited = max(0, asked - born)
            steps = (waited, read - born - waited, begun - read, offsets - begun, sent - offsets, committed - sent)
            rows.append([step / 1e6 for step in (*steps, arrived[key] - committed)])
    return rows


def at(rows: Sequence[Sequence[float]], low: float, high: float) -> dict[str, float]:
    """Return the mean ms of each step of the events between two shares of all, in order of their latency.

    >>> at([[1.0] * 7, [2.0] * 7, [9.0] * 7], 0.5, 1.0)["EndTxn"]
    5.5
    """
    ordered = sorted(rows, key=sum)
    chosen = ordered[int(low * len(ordered)) : max(1, round(high * len(ordered)))]
    return {name: statistics.fmean(row[number] for row in chosen) for number, name in enumerate(STEPS)}
