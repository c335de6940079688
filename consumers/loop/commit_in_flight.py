"""Commit of a turn in a thread, while the loop reads and processes the next turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from runtime.kafka_client.transaction import Transactions


@dataclass(frozen=True)
class Turn:
    """One turn's part of the log: complete when its commit begins, and never changed after.

    Attributes
    ----------
    places
        Offsets to commit: the positions after this turn's records.
    group
        The membership at the poll that returned the records.
    records
        Number of records that were processed.
    """

    outputs: Sequence[Output]
    places: Mapping[Partition, CommittedOffset]
    group: GroupMetadata | None
    records: int


@dataclass
class _Flight:
    """A commit in its thread. The thread writes the last two fields before it ends."""

    turn: Turn
    began: float
    thread: threading.Thread | None = None
    ended: float = 0.0
    error: BaseException | None = None


@dataclass(frozen=True)
class Committed:
    """A turn that Kafka has committed. `ended` in monotonic seconds."""

    turn: Turn
    seconds: float
    ended: float


class CommitInFlight:
    """At most one commit. `land` returns or raises its outcome, once, in the loop's thread."""

    def __init__(self) -> None:
        self._flight: _Flight | None = None

    def run(self, transactions: Transactions, turn: Turn) -> None:
        """Commit now; `land` gives the outcome."""
        _commit(transactions, self._take_off(turn))

    def start(self, transactions: Transactions, turn: Turn) -> None:
        """Begin to commit in a thread, which returns within the deadline of a transaction."""
        flight = self._take_off(turn)
        thread = threading.Thread(target=_commit, args=(transactions, flight), name="commit", daemon=True)
        thread.start()
        flight.thread = thread

    def land(self) -> Committed | None:
        """Wait for the commit and return what it committed; `None` if there is no commit. Raises its failure."""
        flight = self._flight
        if flight is None:
            return None
        if flight.thread is not None:
            flight.thread.join()
        self._flight = None
        if flight.error is not None:
            raise flight.error
        return Committed(flight.turn, flight.ended - flight.began, flight.ended)

    def wait(self, seconds: float) -> None:
        """Wait for the end of the commit, whatever it is. Any thread may call this."""
        flight = self._flight
        if flight is not None and flight.thread is not None:
            flight.thread.join(seconds)

    def _take_off(self, turn: Turn) -> _Flight:
        assert self._flight is None, "one commit at a time"  # noqa: S101 - a mistake of the loop
        self._flight = _Flight(turn, time.monotonic())
        return self._flight


def _commit(transactions: Transactions, flight: _Flight) -> None:
    turn = flight.turn
    try:
        transactions.commit(turn.outputs, turn.places, turn.group)
    except BaseException as error:  # noqa: BLE001 - raised again in the loop's thread
        flight.error = error
    flight.ended = time.monotonic()
