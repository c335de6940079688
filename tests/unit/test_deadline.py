"""Calls that may never return are given up in time, and leave no thread once they do."""

from __future__ import annotations

import threading

import pytest

from runtime.deadline import Overdue, Worker


def threads(name: str) -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == name]


def test_all_calls_of_a_worker_are_made_in_one_thread() -> None:
    worker = Worker("one-thread")
    made = {worker.within(5, threading.get_ident) for _ in range(100)}
    assert len(made) == 1
    assert made != {threading.get_ident()}
    [thread] = threads("one-thread")
    worker.close()
    thread.join(5)
    assert not thread.is_alive()


def test_an_error_is_raised_where_the_call_was_asked_for_and_the_next_call_is_made() -> None:
    worker = Worker("raises")
    with pytest.raises(ZeroDivisionError):
        worker.within(5, lambda: 1 / 0)
    assert worker.within(5, lambda: "made") == "made"
    worker.close()


def test_a_call_that_does_not_return_is_given_up_and_its_thread_ends_when_it_does() -> None:
    released, worker = threading.Event(), Worker("overdue")
    with pytest.raises(Overdue, match=r"^no answer within 0\.05 s$"):
        worker.within(0.05, released.wait)
    [thread] = threads("overdue")
    released.set()
    thread.join(5)
    assert not thread.is_alive()


def test_a_worker_without_a_call_has_no_thread() -> None:
    Worker("unused").close()
    assert threads("unused") == []
