"""Header of a prediction: its event's time on the broker, so that latency follows from the log alone.

A predictor marks up to 16 of the events of a partition that it reads at once, each for itself and its neighbours: so
every event counts where there are few, and where there are many the others cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

EVENT_TIME: Final = "millstream-event-time"
MOST_MARKED: Final = 16
_MOST_EVENTS: Final = 10_000


class EventTime(NamedTuple):
    """Time (ms) of an event's record, and the number of events that it stands for."""

    time: int
    events: int

    def header(self) -> tuple[str, bytes]:
        """Return the header.

        >>> EventTime(1795986060000, 3).header()
        ('millstream-event-time', b'1795986060000 3')
        """
        return EVENT_TIME, b"%d %d" % self


def marked(count: int) -> Iterator[tuple[int, int]]:
    """Yield the places of up to 16 of so many events, with how many each stands for: the middle ones of equal groups.

    >>> [*marked(2)], sum(events for _, events in marked(1000))
    ([(0, 1), (1, 1)], 1000)
    """
    size = max(1, -(-count // MOST_MARKED))
    for begin in range(0, count, size):
        events = min(size, count - begin)
        yield begin + events // 2, events


def read_event_time(headers: Iterable[tuple[str, bytes | None]]) -> EventTime | None:
    """Return the event's time in a prediction's headers, `None` if there is none that can be read."""
    for name, value in headers:
        if name != EVENT_TIME:
            continue
        time, _, events = (value or b"").partition(b" ")
        if len(value or b"") < 32 and time.isdigit() and events.isdigit() and 0 < int(events) <= _MOST_EVENTS:
            return EventTime(int(time), int(events))
    return None
