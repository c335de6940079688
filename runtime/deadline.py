"""Work that may never return, held to a time: a commit of the client's can block for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Overdue(Exception):  # noqa: N818
    """The work has not returned in time, and may go on in its thread: let go of what it works with."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.seconds = seconds


def within(seconds: float, work: Callable[[], T], name: str) -> T:
    """Do `work` in a thread called `name`; what it returns or raises is returned or raised here.

    >>> within(5, lambda: 1, "quick")
    1

    Raises
    ------
    Overdue
        Where it has not returned after `seconds`.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            errors.append(error)

    # A thread each, and a daemon: one that never returns must not keep the process alive.
    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise Overdue(seconds)
    if errors:
        raise errors[0]
    return results[0]
