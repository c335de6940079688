"""Deadline for a call that may never return, such as a commit of the Kafka client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Overdue(Exception):  # noqa: N818
    """The work has not returned in time and may still run in its thread: stop using whatever it works with."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.seconds = seconds


def within(seconds: float, work: Callable[[], T], name: str) -> T:
    """Run `work` in a thread called `name`; return its result or raise its exception.

    >>> within(5, lambda: 1, "quick")
    1

    Raises
    ------
    Overdue
        If `work` has not returned after `seconds`.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            errors.append(error)

    # A daemon thread for each call: a call that never returns must not keep the process alive.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise Overdue(seconds)
    if errors:
        raise errors[0]
    return results[0]
