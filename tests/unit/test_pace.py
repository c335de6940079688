"""How fast records of the past are written again."""

from __future__ import annotations

import pytest

from millstream.replay.rate_limit import GENTLE, InvalidPace, RateLimit, parse


def test_unless_somebody_says_otherwise_live_consumers_are_spared() -> None:
    assert parse("max", None) == GENTLE
    assert parse("10x", None) == RateLimit(speed=10, rate=GENTLE.rate, bytes_rate=GENTLE.bytes_rate)
    assert parse("max", "unlimited") == RateLimit()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("500", RateLimit(rate=500)),
        ("0.5", RateLimit(rate=0.5)),
        ("2MB", RateLimit(bytes_rate=2e6)),
        ("1.5 kB", RateLimit(bytes_rate=1500)),
    ],
)
def test_a_rate_is_of_records_or_of_bytes(text: str, wanted: RateLimit) -> None:
    assert parse("max", text) == wanted


@pytest.mark.parametrize("text", ["0", "-1", "MB", "1e3", "", "nan", "2 GB", "unlimited!"])
def test_what_is_no_rate_is_named_with_the_way_out(text: str) -> None:
    with pytest.raises(InvalidPace, match="records a second"):
        parse("max", text)


def test_the_slowest_of_rate_bytes_and_speed_says_when_a_record_is_due() -> None:
    pace = RateLimit(rate=10, bytes_rate=100, speed=2)
    assert pace.due(20, 0, 0, 0) == 2.0
    assert pace.due(20, 500, 0, 0) == 5.0
    assert pace.due(20, 500, 14_000, 2_000) == 6.0
    assert (RateLimit().due(10**9, 10**12, 0, 0), pace.due(0, 0, timestamp=1, first=2)) == (0.0, 0.0)


def test_a_slow_replay_goes_in_small_pieces_and_none_is_empty() -> None:
    assert [RateLimit(rate=rate).piece(2000) for rate in (0.5, 80, 10**6)] == [1, 10, 2000]
