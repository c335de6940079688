"""Header of a prediction: its event's time on the broker, so that latency follows from the log alone.

A predictor marks up to 16 of the events of a partition that it reads at once, each for itself and its neighbours: so
every event counts where there are few, and where there are many the others cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def marked(times: Sequence[int]) -> dict[int, EventTime]:
    """Return which of these events are marked, by their places: the middle of each of up to 16 groups.

    >>> marked([7, 8])
    {0: EventTime(time=7, events=1), 1: EventTime(time=8, events=1)}
    >>> sum(each.events for each in marked([5] * 1000).values())
    1000
    """
    count = len(times)
    size = max(1, -(-count // MOST_MARKED))
    return {
        place: EventTime(times[place], min(size, count - begin))
        for begin in range(0, count, size)
        if times[place := (begin + min(begin + size, count)) // 2] > 0  # a record may have no time
    }


def read_event_time(headers: Iterable[tuple[str, bytes | None]]) -> EventTime | None:
    """Return the event's time in a prediction's headers, `None` if there is none that can be read."""
    for name, value in headers:
        if name != EVENT_TIME:
            continue
        time, _, events = (value or b"").partition(b" ")
        if len(value or b"") < 32 and time.isdigit() and events.isdigit() and 0 < int(events) <= _MOST_EVENTS:
            return EventTime(int(time), int(events))
    return None
