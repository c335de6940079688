"""What `millstream drift` compares: the windows of the reference, however long they are kept."""

from __future__ import annotations

import pytest

from consumers.monitor.drift.rules import DriftRules, Trailing
from consumers.monitor.profiles import WindowProfiles
from millstream.evaluation.drift.collect import collect
from schemas.profiles import DAY_MS, HOUR_MS, Window

MINUTE = 60_000
T0 = 20_000 * DAY_MS + 21 * HOUR_MS


def window(minute: int) -> Window:
    """Return a window of a minute with 60 numbers."""
    profiles = WindowProfiles(10, None)
    profiles.add_features([{"x": (number * 7 % 13) / 2} for number in range(60)])
    found, pairs, left_out = profiles.finish(60)
    start = T0 + minute * MINUTE
    times = (start, MINUTE, start, start + MINUTE - 1)
    return Window("predictions", "t", 0, minute * 60, minute * 60 + 60, *times, 60, {}, found, left_out, pairs, [])


@pytest.mark.parametrize("begin", [0, 43])
def test_a_reference_within_an_hour_that_has_ended_is_shown(begin: int) -> None:
    """From the next hour on, its minutes are kept as one window, which begins before the first of them."""
    windows = [window(minute) for minute in (*range(begin, begin + 15), *range(74, 82))]
    found = collect(windows, DriftRules(MINUTE, 1 / DAY_MS, Trailing(2 * HOUR_MS)), "s")
    assert found.reference_from_ms == T0 + begin * MINUTE
    assert found.reference["feature:x"].numbers is not None
    assert found.reference["feature:x"].numbers.count >= 14 * 60
    assert found.now["feature:x"].numbers is not None
