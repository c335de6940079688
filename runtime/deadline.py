"""Deadlines for calls that may never return, such as a commit of the Kafka client."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Overdue(Exception):  # noqa: N818
    """The work has not returned in time and may still run in its thread: stop using whatever it works with."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.seconds = seconds


class Worker:
    """A thread that makes one call after the other, each within a deadline.

    To hand a call over takes a fifth of the time that a new thread takes, and less still while the processors are busy.
    A caller that is told Overdue must not use the worker again. Calls must not overlap.

    Parameters
    ----------
    name
        Name of the thread, which starts with the first call. It is a daemon: a call that never returns must not keep
        the process alive.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[Any] | Exception] = queue.SimpleQueue()
        self._started = False

    def within(self, seconds: float, work: Callable[[], T]) -> T:
        """Return the result of `work`, or raise its exception.

        >>> Worker("quick").within(5, lambda: 1)
        1

        Raises
        ------
        Overdue
            If `work` has not returned after `seconds`. The thread ends when it does.
        """
        if not self._started:
            self._started = True
            arguments = (self._calls, self._results)
            threading.Thread(target=_work, args=arguments, name=self._name, daemon=True).start()
        self._calls.put(work)
        try:
            result = self._results.get(timeout=seconds)
        except queue.Empty:
            self.close()
            raise Overdue(seconds) from None
        if isinstance(result, Exception):
            raise result
        return cast(T, result[0])

    def close(self) -> None:
        """End the thread once the call that it makes, if any, has returned."""
        self._calls.put(None)


def _work(
    calls: queue.SimpleQueue[Callable[[], Any] | None], results: queue.SimpleQueue[tuple[Any] | Exception]
) -> None:
    # It knows the queues alone: a worker that is forgotten is freed with what its calls refer to.
    while (call := calls.get()) is not None:
        try:
            results.put((call(),))
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits
            results.put(error)
        del call


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
