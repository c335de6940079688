"""Delivery to one target: a thread with a queue, so that a dead target holds up no other."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumers.notifier import messages
from consumers.notifier.http_post import Undelivered, post
from consumers.notifier.messages import Told
from consumers.notifier.target import Target
from runtime.failpoints import failpoint

MOST_WAITING: Final = 10_000
GIVEN_UP_AFTER_MS: Final = 3 * 86_400_000
DEAD_AFTER: Final = 3
"""Failed attempts in a row after which a target counts as dead."""
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 3600.0
_MOST_REFUSALS: Final = 5
_delivered = failpoint("notifier.delivered")


def nothing_more() -> None:
    """Do nothing when an item is done."""


@dataclass(frozen=True)
class Item:
    """Something to tell a target of.

    Attributes
    ----------
    id
        The same at each attempt, also after a restart.
    alerts
        One alert, or all that are raised if an Alertmanager is told again.
    offset
        Offset of the alert's record; `None` if it does not count for the target's place.
    kept
        False if one attempt is enough, because a later one tells the same.
    done
        Called when it was delivered or given up, by the thread.
    """

    id: str
    alerts: Sequence[Told]
    offset: int | None = None
    kept: bool = True
    done: Callable[[], None] = nothing_more


@dataclass(frozen=True)
class CourierState:
    """How deliveries to a target go.

    Attributes
    ----------
    failed
        Failed attempts in a row.
    failing_since
        Time (ms) of the first of them, 0 for none.
    why
        Reason of the last failure.
    delivered, lost
        Number of alerts delivered, and given up.
    accepted, failures
        Number of attempts that succeeded, and that failed; those that only remind an Alertmanager count.
    """

    failed: int = 0
    failing_since: int = 0
    why: str = ""
    delivered: int = 0
    lost: int = 0
    accepted: int = 0
    failures: int = 0


class Courier:
    """Delivers to one target, in order.

    Parameters
    ----------
    stream
        Name of the stream, for the messages.
    failing_since
        Since when (ms) the target has failed, if another process knew.
    send
        Posts a request; raises `Undelivered`.
    """

    def __init__(
        self,
        target: Target,
        stream: str,
        failing_since: int = 0,
        send: Callable[[str, dict[str, str], bytes], None] = post,
    ) -> None:
        self.target = target
        self._stream = stream
        self._send = send
        self._lock = threading.Condition()
        self._queue: deque[Item] = deque()
        self._state = CourierState(failing_since=failing_since)
        self._refusals = 0
        self._tried_since = 0  # first failure (ms) of the item that is tried
        self._ended = False
        self._thread = threading.Thread(target=self._work, name=f"notify-{target.name}", daemon=True)
        self._thread.start()

    def give(self, item: Item) -> None:
        """Put an item into the queue. If too many wait, the oldest is given up."""
        with self._lock:
            self._queue.append(item)
            # The first one may be on its way.
            while len(self._queue) > MOST_WAITING:
                dropped = self._queue[1]
                del self._queue[1]
                dropped.done()
                self._lost()
            self._lock.notify()

    def place(self, read: int) -> int:
        """Return the offset up to which all is done, given the next offset that is read."""
        with self._lock:
            return next((item.offset for item in self._queue if item.offset is not None), read)

    @property
    def idle(self) -> bool:
        """True if nothing waits."""
        with self._lock:
            return not self._queue

    def state(self) -> CourierState:
        """Return how deliveries go."""
        with self._lock:
            return self._state

    def end(self) -> None:
        """Stop after the attempt that is on its way."""
        with self._lock:
            self._ended = True
            self._lock.notify()

    # --- the thread --------------------------------------------------------------------------------

    def _work(self) -> None:
        while (item := self._next()) is not None:
            try:
                self._attempt(item)
            except Undelivered as error:
                wait = self._failed(item, error)
            except Exception as error:  # noqa: BLE001 - the user's function may have made the body
                wait = self._failed(item, Undelivered(messages.not_made(self.target, error), refused=True))
            else:
                _delivered()
                self._succeeded(item)
                continue
            self._pause(wait)

    def _next(self) -> Item | None:
        with self._lock:
            self._lock.wait_for(lambda: self._ended or bool(self._queue))
            return None if self._ended else self._queue[0]

    def _attempt(self, item: Item) -> None:
        target, now_ms = self.target, time.time_ns() // 1_000_000
        if target.problem is not None:
            raise Undelivered(target.problem)
        message = messages.request(target, self._stream, item.alerts, item.id, now_ms)
        self._send(target.url, message.headers, message.body)

    def _succeeded(self, item: Item) -> None:
        with self._lock:
            self._refusals = 0
            before = self._state
            self._state = replace(
                before,
                failed=0,
                failing_since=0,
                why="",
                delivered=before.delivered + item.kept,
                accepted=before.accepted + 1,
            )
            self._remove(item)

    def _failed(self, item: Item, error: Undelivered) -> float:
        """Note a failed attempt; return the seconds to wait before the next."""
        with self._lock:
            now_ms, before = time.time_ns() // 1_000_000, self._state
            since = before.failing_since or now_ms
            self._refusals += error.refused
            self._tried_since = self._tried_since or now_ms
            self._state = replace(
                before, failed=before.failed + 1, failing_since=since, why=str(error), failures=before.failures + 1
            )
            again = not item.kept
            # Its own age counts, over restarts; any client can write a time that is to come.
            began = max(since, min(item.alerts[0].alert.at, self._tried_since))
            if again or self._refusals >= _MOST_REFUSALS or now_ms - began >= GIVEN_UP_AFTER_MS:
                self._refusals = 0
                if not again:
                    self._lost()
                self._remove(item)
            return min(_FIRST_WAIT_S * 2.0 ** min(before.failed, 20), _LONGEST_WAIT_S)

    def _remove(self, item: Item) -> None:
        if self._queue and self._queue[0] is item:
            self._queue.popleft()
            self._tried_since = 0
        item.done()

    def _lost(self) -> None:
        self._state = replace(self._state, lost=self._state.lost + 1)

    def _pause(self, seconds: float) -> None:
        with self._lock:
            self._lock.wait_for(lambda: self._ended, timeout=seconds)
