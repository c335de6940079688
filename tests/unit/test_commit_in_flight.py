"""The commit in flight: one at a time, its outcome once, in the thread that asks for it."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest

from consumers.loop.commit_in_flight import CommitInFlight, Turn
from runtime.exits import Doubt
from runtime.kafka_client.transaction import Transactions

SECONDS = 30.0
TURN = Turn([], {}, None, 3)


class Slow:
    """Transactions whose commit waits for `answer`, and fails with `error`."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.began, self.answer = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []
        self._error = error

    def commit(self, *turn: Any) -> None:
        self.threads.append(threading.current_thread())
        self.began.set()
        assert self.answer.wait(SECONDS)
        if self._error is not None:
            raise self._error


def pair(error: BaseException | None = None) -> tuple[CommitInFlight, Slow, Transactions]:
    slow = Slow(error)
    return CommitInFlight(), slow, cast(Transactions, slow)


def test_without_a_commit_there_is_nothing_to_land() -> None:
    in_flight = CommitInFlight()
    assert in_flight.land() is None
    in_flight.wait(SECONDS)


def test_a_commit_that_was_started_runs_in_a_thread_and_lands_once() -> None:
    in_flight, slow, transactions = pair()
    in_flight.start(transactions, TURN)
    assert slow.began.wait(SECONDS)
    slow.answer.set()
    landed = in_flight.land()
    assert landed is not None
    assert landed.turn is TURN
    assert 0 <= landed.seconds < SECONDS
    assert slow.threads != [threading.current_thread()]
    assert in_flight.land() is None


def test_a_commit_that_is_run_is_over_when_that_returns() -> None:
    in_flight, slow, transactions = pair()
    slow.answer.set()
    in_flight.run(transactions, TURN)
    assert slow.threads == [threading.current_thread()]
    landed = in_flight.land()
    assert landed is not None
    assert landed.turn is TURN


@pytest.mark.parametrize("error", [Doubt("no answer"), RuntimeError("a defect"), SystemExit(3)])
def test_a_failure_is_raised_where_it_lands_and_once(error: BaseException) -> None:
    in_flight, slow, transactions = pair(error)
    in_flight.start(transactions, TURN)
    slow.answer.set()
    with pytest.raises(type(error)) as caught:
        in_flight.land()
    assert caught.value is error
    assert in_flight.land() is None


def test_a_second_commit_waits_for_the_first_to_land() -> None:
    in_flight, slow, transactions = pair()
    in_flight.start(transactions, TURN)
    for begin in (in_flight.start, in_flight.run):
        with pytest.raises(AssertionError, match="one commit at a time"):
            begin(transactions, TURN)
    slow.answer.set()
    assert in_flight.land() is not None
    assert len(slow.threads) == 1


def test_waiting_is_for_its_end_and_takes_no_outcome_away() -> None:
    in_flight, slow, transactions = pair(Doubt("no answer"))
    in_flight.start(transactions, TURN)
    in_flight.wait(0.01)
    assert slow.threads[0].is_alive()
    slow.answer.set()
    in_flight.wait(SECONDS)
    with pytest.raises(Doubt):
        in_flight.land()
