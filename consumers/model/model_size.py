"""Model size and its growth, recorded with each version and compared with the limit.

The size is that of the written file. In memory a model takes a small multiple of it, constant for one model.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, NamedTuple

_BACK_MS: Final = 3_600_000  # growth is measured over the last hour
_APART_MS: Final = 60_000
_HOUR_MS: Final = 3_600_000
_NEAR: Final = 0.8  # of the limit
_HALF: Final = 0.5
_SOON_HOURS: Final = 24.0
_LEAST_MS: Final = 300_000  # a shorter time gives no useful growth per hour


class Size(NamedTuple):
    """A version's model size. `at_ms` is the time of writing."""

    examples: int
    at_ms: int
    model_bytes: int


class Growth:
    """Growth of one learner's model, from the sizes of its newest versions.

    Parameters
    ----------
    limit
        In bytes; `None` for no limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._sizes: deque[Size] = deque()
        self._newest: Size | None = None

    def begin(self, size: Size | None = None) -> None:
        """Forget all sizes and continue from a version, if there is one."""
        self._sizes.clear()
        self._newest = None
        if size is not None:
            self.note(size)

    def note(self, size: Size) -> None:
        """Add the size of the next version."""
        while len(self._sizes) > 1 and self._sizes[1].at_ms <= size.at_ms - _BACK_MS:
            self._sizes.popleft()
        if not self._sizes or size.at_ms - self._sizes[-1].at_ms >= _APART_MS:
            self._sizes.append(size)
        self._newest = size

    @property
    def full(self) -> bool:
        """Return whether the newest version has reached the limit, so that learning must stop."""
        return self.limit is not None and self._newest is not None and self._newest.model_bytes >= self.limit

    @property
    def model_bytes(self) -> int:
        """Return the size of the newest version."""
        return 0 if self._newest is None else self._newest.model_bytes

    def report(self) -> dict[str, Any]:
        """Return the manifest's entry: recent growth in bytes per example and per hour, `None` if unknown."""
        grown, examples, passed = self._grown()
        return {
            "bytes_per_example": grown / examples if examples > 0 else None,
            "bytes_per_hour": grown * _HOUR_MS / passed if passed > 0 else None,
        }

    def warning(self) -> str | None:
        """Return the warning shortly before the limit; `None` while the limit is far."""
        if self.limit is None or self._newest is None or self.full:
            return None
        hours = self._hours_left()
        near = self.model_bytes >= _NEAR * self.limit
        soon = hours is not None and hours <= _SOON_HOURS and self.model_bytes >= _HALF * self.limit
        if not near and not soon:
            return None
        return f"{self._sizes_said()}{self._when()}; at that size it learns no more"

    def reached(self) -> str:
        """Return the message for reaching the limit."""
        return (
            f"{self._sizes_said()}: nothing more is learned, what serves goes on. Raise Checkpoints(max_bytes=…) in "
            "the stream file, or choose a smaller model (--new-epoch), and start the learner again; it goes on "
            "where it stopped"
        )

    def _sizes_said(self) -> str:
        return f"the model has {self.model_bytes} bytes of {self.limit} (Checkpoints(max_bytes=…))"

    def _when(self) -> str:
        grown, examples, _ = self._grown()
        if grown <= 0 or examples <= 0 or self.limit is None:
            return ", and does not grow at present"
        left = round((self.limit - self.model_bytes) * examples / grown)
        hours = self._hours_left()
        return f" and is full in about {left} examples" + ("" if hours is None else f", {hours:.2g} hours at this pace")

    def _hours_left(self) -> float | None:
        grown, _, passed = self._grown()
        if grown <= 0 or passed < _LEAST_MS or self.limit is None:
            return None
        return (self.limit - self.model_bytes) * passed / grown / _HOUR_MS

    def _grown(self) -> tuple[int, int, int]:
        """Return the growth in bytes, examples and ms since the oldest kept size."""
        if self._newest is None or not self._sizes:
            return 0, 0, 0
        first = self._sizes[0]
        newest = self._newest
        return (
            newest.model_bytes - first.model_bytes,
            newest.examples - first.examples,
            newest.at_ms - first.at_ms,
        )
