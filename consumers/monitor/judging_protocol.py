"""Interface between the monitor and the judging of windows.

The owner of the profiles topic's partition holds one.

Its outputs go into the transaction that moves the offset on the profiles topic, so each judgement, alert and action
comes into being once. All that it knows follows from the windows that it was given, in the order of their offsets, and
from what it remembered in the offset metadata: then a process that starts again judges as the one before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from runtime.kafka_client.records import Output
from schemas.profiles import Window

MOST_REMEMBERED: Final = 3000
"""Most characters that `Judging.remembered` may return: Kafka takes 4,096 beside an offset."""


class Judging(Protocol):
    """Judges windows. The monitor makes a new one whenever it takes the profiles topic over, and calls, in order,
    `restore`, `recover` for each window, `recovered`; then `take` and `tick` from the same thread.
    """

    def restore(self, remembered: str) -> None:
        """Take what `remembered` returned at the last commit; an empty text if there was none."""

    def recover(self, window: Window) -> None:
        """Take a window that was judged before: state changes, nothing is sent."""

    def recovered(self) -> None:
        """Note that all windows judged before were given."""

    def take(self, window: Window) -> list[Output]:
        """Take a new window, also a merged one that this object has written; return the outputs to send, in order."""

    def tick(self, now_ms: int) -> list[Output]:
        """Return the outputs that are due by time."""

    def remembered(self) -> str:
        """Return what does not follow from the windows: raised alerts, times of actions. At most `MOST_REMEMBERED`."""

    def open_findings(self) -> Sequence[str]:
        """Return the findings that have not ended, as ``check subject``."""


NewJudging: TypeAlias = Callable[[], Judging]
