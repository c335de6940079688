"""Rate limit of a replay, so that live consumers of the same cluster are not disturbed."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

_SPEED: Final = re.compile(r"(\d+(?:\.\d+)?)x")
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:\s*([kM]?B))?")
_BYTES: Final = {"B": 1, "kB": 1_000, "MB": 1_000_000}
_PIECES: Final = 8  # pieces a second: other clients wait while one piece is written


class InvalidPace(ValueError):  # noqa: N818
    """The text is neither a speed nor a rate; the message shows the valid forms."""


@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """The limits on how fast records are written.

    Attributes
    ----------
    speed
        Multiple of the original speed, by the records' timestamps; `None` means no such limit.
    rate, bytes_rate
        Maximum number of records and of bytes a second.
    """

    speed: float | None = None
    rate: float | None = None
    bytes_rate: float | None = None

    def due(self, number: int, size: int, timestamp: int, first: int) -> float:
        """Return the number of seconds after the first record at which a record may be written.

        Parameters
        ----------
        number, size
            Number of records before it, and their bytes.
        timestamp, first
            Its time and that of the first, ms.

        >>> pace = RateLimit(rate=2, bytes_rate=10)
        >>> RateLimit(speed=10).due(3, 0, timestamp=25_000, first=5_000), pace.due(3, 5, 0, 0), pace.due(3, 50, 0, 0)
        (2.0, 1.5, 5.0)
        """
        by_rate = number / self.rate if self.rate else 0.0
        by_bytes = size / self.bytes_rate if self.bytes_rate else 0.0
        by_time = max(0, timestamp - first) / 1000 / self.speed if self.speed else 0.0
        return max(by_rate, by_bytes, by_time)

    def piece(self, most: int) -> int:
        """Return the number of records to write at once.

        >>> RateLimit(rate=400).piece(2000), RateLimit().piece(2000)
        (50, 2000)
        """
        return most if not self.rate else max(1, min(most, int(self.rate / _PIECES)))

    def seconds(self, records: int) -> float:
        """Return the least time for so many records by the rate; 0 without a rate.

        >>> RateLimit(rate=400).seconds(1200)
        3.0
        """
        return records / self.rate if self.rate else 0.0


GENTLE: Final = RateLimit(rate=2_000, bytes_rate=4_000_000)
"""A limit that does not disturb live consumers; `python -m benchmarks replay-live` measures it."""


def parse(speed: str, rate: str | None) -> RateLimit:
    """Parse the options --speed and --rate. Raises InvalidPace.

    >>> parse("10x", None) == RateLimit(speed=10, rate=GENTLE.rate, bytes_rate=GENTLE.bytes_rate)
    True
    >>> parse("max", "500"), parse("max", "2MB").bytes_rate, parse("max", "unlimited") == RateLimit()
    (RateLimit(speed=None, rate=500.0, bytes_rate=None), 2000000.0, True)
    """
    found = _SPEED.fullmatch(speed.strip())
    if speed.strip() != "max" and (found is None or float(found[1]) <= 0):
        raise InvalidPace(f"--speed {speed[:100]!r}: write 1x, 10x or max")
    times = None if found is None else float(found[1])
    if rate is None:
        return replace(GENTLE, speed=times)
    if rate.strip() == "unlimited":
        return RateLimit(speed=times)
    given = _RATE.fullmatch(rate.strip())
    if given is None or float(given[1]) <= 0:
        raise InvalidPace(f"--rate {rate[:100]!r}: write 500 (records a second), 2MB (bytes a second) or unlimited")
    if given[2] is None:
        return RateLimit(speed=times, rate=float(given[1]))
    return RateLimit(speed=times, bytes_rate=float(given[1]) * _BYTES[given[2]])
