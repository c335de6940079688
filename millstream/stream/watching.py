"""Monitoring in a stream file: `Watch`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from millstream.stream.duration import InvalidDuration, milliseconds
from millstream.stream.errors import InvalidStream
from millstream.stream.parameter_checks import check_counts, check_spans, known_parameters
from millstream.stream.parameter_groups import Span
from schemas.topics import DAY_MS

_BUDGET: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s+per\s+(\S+)\s*")
_LEAST_WINDOW_MS: Final = 1000
_NAMED: Final = re.compile(r"version \d+/\d+|epoch \d+")
_FED: Final = ("feature:", "label:", "answer:", "metric:")
_OTHER_REFERENCE_DAYS: Final = 30


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Watch:
    """What the monitor compares with what, and how often it may be wrong.

    Parameters
    ----------
    reference
        What counts as usual: a trailing span (``"7d"``), the range of the log that a version has learned
        (``"version 3/81000"``), an epoch (``"epoch 3"``), or a range of time in UTC (``"2026-11-01 to 2026-11-08"``).
    window
        A window closes when this much of the broker's time has passed,
    window_events
        or when it has this many events.
    false_alarms
        How many false drift alarms the whole stream may raise, such as ``"1 per 30d"``.
    pairs
        Pairs of features whose correlation is watched; by default all of the first 50 number features.
    most_features
        How many features are watched; values of further ones are counted.
    detectors
        River's detectors of drift that are fed with the means of windows, as functions that make a new one, by name:
        ``error`` (of the served answers), ``feature:NAME``, ``label:value`` or ``answer:prediction``. By default ADWIN
        on the error. Their alarms are not part of the budget: their own parameters say how often they are wrong.

    Examples
    --------
    >>> Watch(false_alarms="1 per 30d").alarms_per_ms * 30 * 24 * 3600 * 1000
    1.0
    """

    reference: Span = "7d"
    window: Span = "5m"
    window_events: int = 10_000
    false_alarms: str = "1 per 30d"
    pairs: Sequence[tuple[str, str]] | None = None
    most_features: int = 500
    detectors: Mapping[str, Callable[[], Any]] | None = None

    def __post_init__(self) -> None:
        check_spans(self, "window")
        check_counts(self, "window_events", "most_features")
        self._check_detectors()
        self._check_reference()
        if self.window_ms < _LEAST_WINDOW_MS:
            raise InvalidStream(f"Watch: window={self.window!r} must be at least 1s")
        self._check_budget()

    def _check_budget(self) -> None:
        """Raise InvalidStream for a budget that is none, or is none at all: no test is never wrong."""
        try:
            valid = 0 < self.alarms_per_ms < math.inf
        except (InvalidDuration, TypeError, ZeroDivisionError, OverflowError):
            valid = False
        if not valid:
            raise InvalidStream(
                f"Watch: false_alarms={self.false_alarms!r:.60} must be like '1 per 30d', with numbers above 0"
            )

    def _check_reference(self) -> None:
        """Raise InvalidStream for a reference that is none, or is empty."""
        text = self.reference if isinstance(self.reference, str) else ""
        if not _NAMED.fullmatch(text.strip()) and self.times is None:
            try:
                valid = milliseconds(self.reference) > 0
            except (InvalidDuration, TypeError, ValueError, OverflowError):
                valid = False
            if not valid:
                raise InvalidStream(
                    f"Watch: reference={self.reference!r:.60} must be a span such as '7d', 'version 3/81000', "
                    "'epoch 3', or '2026-11-01 to 2026-11-08'"
                )

    @property
    def times(self) -> tuple[int, int] | None:
        """Begin and end (ms) of a reference that is a range of time; `None` for another one.

        >>> Watch(reference="2026-11-01 to 2026-11-08").times
        (1793491200000, 1794096000000)
        """
        begin, to, end = str(self.reference).partition(" to ")
        if not to:
            return None
        try:
            found = [datetime.fromisoformat(each.strip()) for each in (begin, end)]
        except ValueError as error:
            raise InvalidStream(
                f"Watch: reference={self.reference!r:.60} is no range: write '2026-11-01 to 2026-11-08' (UTC)"
            ) from error
        since, until = (round((each if each.tzinfo else each.replace(tzinfo=UTC)).timestamp() * 1000) for each in found)
        if since >= until:
            raise InvalidStream(f"Watch: reference={self.reference!r:.60} ends before it begins")
        return since, until

    def _check_detectors(self) -> None:
        """Raise InvalidStream for a detector that is fed with nothing, or is no function that makes one."""
        for name, make in (self.detectors or {}).items():
            if name != "error" and not name.startswith(_FED):
                raise InvalidStream(f"Watch: detectors: there is no {name!r:.60}; write 'error' or 'feature:NAME'")
            if not callable(make):
                raise InvalidStream(f"Watch: detectors: {name!r:.60} must be a function, such as lambda: drift.ADWIN()")

    @property
    def window_ms(self) -> int:
        """`window` in milliseconds."""
        return milliseconds(self.window)

    @property
    def reference_days(self) -> int:
        """Number of days that the reference covers, rounded up; 30 if it is no span that ends now."""
        try:
            return -(-milliseconds(self.reference) // DAY_MS)
        except InvalidDuration:
            return _OTHER_REFERENCE_DAYS

    @property
    def alarms_per_ms(self) -> float:
        """The budget of false alarms, per millisecond of the log."""
        found = _BUDGET.fullmatch(self.false_alarms)
        if found is None:
            raise InvalidDuration(f"{self.false_alarms!r:.60} is no budget of false alarms")
        return float(found[1]) / milliseconds(found[2])
