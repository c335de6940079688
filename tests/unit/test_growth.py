"""A model's size: how fast it grows, what is said ahead of the limit, and when it is full."""

from __future__ import annotations

import pytest

from consumers.model.model_size import Growth, Size

_MINUTE = 60_000


def grown(limit: int | None, minutes: int, bytes_a_minute: int) -> Growth:
    growth = Growth(limit)
    for minute in range(minutes + 1):
        growth.note(Size(100 * minute, minute * _MINUTE, 1000 + bytes_a_minute * minute))
    return growth


def test_growth_is_told_by_the_example_and_by_the_hour() -> None:
    assert grown(None, 30, 50).report() == {"bytes_per_example": 0.5, "bytes_per_hour": 3000.0}
    assert Growth().report() == {"bytes_per_example": None, "bytes_per_hour": None}


def test_growth_is_that_of_the_last_hour() -> None:
    growth = grown(None, 300, 0)
    for minute in range(301, 361):
        growth.note(Size(100 * minute, minute * _MINUTE, 1000 + 50 * (minute - 300)))
    assert growth.report()["bytes_per_example"] == pytest.approx(0.5, rel=0.02)


def test_the_limit_is_told_ahead_by_size_and_by_time_and_then_it_is_full() -> None:
    assert grown(10_000, 10, 50).warning() is None  # a sixth of it
    near = grown(10_000, 15, 500).warning()
    assert near is not None
    assert "8500 bytes of 10000" in near
    assert "is full in about 300 examples, 0.05 hours" in near
    soon = grown(10_000, 500, 10).warning()  # 60 %, and full within seven hours
    assert soon is not None
    assert "6.7 hours" in soon
    assert grown(10_000, 500_000, 0).warning() is None
    full = grown(10_000, 18, 500)
    assert full.full
    assert full.warning() is None
    assert "Raise Checkpoints(max_bytes=…)" in full.reached()


def test_a_model_that_stands_near_the_limit_is_said_not_to_grow() -> None:
    said = grown(1100, 30, 0).warning()
    assert said is not None
    assert "does not grow" in said


def test_without_a_limit_nothing_is_ever_full() -> None:
    growth = grown(None, 100, 10**9)
    assert not growth.full
    assert growth.warning() is None


def test_another_beginning_forgets_the_sizes_before() -> None:
    growth = grown(10_000, 18, 500)
    growth.begin(Size(5, 0, 100))
    assert not growth.full
    assert growth.report()["bytes_per_example"] is None
