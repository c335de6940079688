"""Sizes of turns: as small as ever while the role keeps up, larger while it is behind, and never too long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from consumers.loop.turns import LEAST_RECORDS, MOST_RECORDS, TurnSizes
from runtime.kafka_client.records import Output, Partition

PARTITION = Partition("in", 0)
MOST_BEHIND = 5_000


def batch(count: int, size: int = 100) -> dict[Partition, Any]:
    return {PARTITION: [SimpleNamespace(value=bytes(size))] * count}


def outputs(count: int, size: int) -> list[Output]:
    return [Output("out", 0, None, bytes(size))] * count


def turns(
    seconds_a_record: float, commit: float = 0.01, *, size: int = 100, sent: int = 0, behind: bool = True
) -> TurnSizes:
    """Sizes after turns of 1,000 records at this pace, each committed in `commit` seconds."""
    sizes = TurnSizes(150, MOST_BEHIND, 8_000)
    for _ in range(20):
        sizes.polled(1000, 1000 if behind else 1, 0)
        sizes.processed(batch(1000, size), outputs(1000, sent), 1000 * seconds_a_record)
        sizes.committed(1000, commit)
    return sizes


def test_the_first_turn_is_small_because_the_pace_is_not_known() -> None:
    sizes = TurnSizes(150, MOST_BEHIND, 8_000)
    sizes.polled(LEAST_RECORDS, LEAST_RECORDS, 10_000)
    assert sizes.size() == LEAST_RECORDS


@pytest.mark.parametrize(
    ("seconds_a_record", "records"), [(1e-5, MOST_RECORDS), (1e-4, 1500), (1e-3, 150), (1, LEAST_RECORDS)]
)
def test_a_role_that_keeps_up_has_turns_of_the_target_time(seconds_a_record: float, records: int) -> None:
    assert turns(seconds_a_record, commit=1.0, behind=False).size() == pytest.approx(records, abs=1)


def test_a_role_that_is_behind_has_larger_turns_up_to_its_limit() -> None:
    assert turns(1e-5).size() == MOST_BEHIND


def test_a_slow_model_keeps_its_short_turns_however_far_behind_it_is() -> None:
    assert turns(0.05).size() == LEAST_RECORDS
    assert turns(1e-3).size() == pytest.approx(150, abs=1)


def test_a_slow_commit_makes_turns_longer_but_not_longer_than_half_the_deadline() -> None:
    assert turns(1e-3, commit=0.5).size() == pytest.approx(4 * 500, abs=1)
    assert turns(1e-3, commit=2.0).size() == pytest.approx(2_000, abs=1), "a commit of 2,000 records takes 4 s"
    assert turns(2e-3, commit=1.5).size() == pytest.approx(2_000, abs=1), "and processing them takes 4 s"


def test_a_commit_whose_time_grows_with_the_records_stays_within_half_the_deadline() -> None:
    assert turns(1e-5, commit=1.0).size() == 4_000


def test_large_records_make_turns_of_16_mb() -> None:
    assert turns(1e-5, size=5_000).size() == (16 << 20) // 5_000
    assert turns(1e-5, sent=5_000).size() == (16 << 20) // 5_000


def test_a_turn_is_never_smaller_because_the_role_is_behind() -> None:
    assert turns(1e-5, size=100_000).size() == MOST_RECORDS
    assert turns(1e-5, commit=7.0).size() == MOST_RECORDS


def test_large_records_count_at_once_and_small_ones_only_after_some_turns() -> None:
    sizes = turns(1e-5)
    sizes.processed(batch(1000, 5_000), [], 0.01)
    assert sizes.size() == (16 << 20) // 5_000
    sizes.processed(batch(1000, 100), [], 0.01)
    assert (16 << 20) // 5_000 < sizes.size() < MOST_BEHIND


def test_records_without_a_value_have_no_size() -> None:
    sizes = turns(1e-5)
    sizes.processed({PARTITION: [SimpleNamespace(value=None)] * 100}, [Output("out", 0, b"k", None)], 0.001)
    assert sizes.size() == MOST_BEHIND


def test_a_commit_without_records_says_nothing() -> None:
    sizes = turns(1e-5)
    sizes.committed(0, 7.0)
    assert sizes.size() == MOST_BEHIND


@pytest.mark.parametrize(
    ("asked", "got", "waiting", "behind"),
    [
        (2_000, 2_000, 0, True),
        (2_000, 1_999, 0, False),
        (2_000, 300, 1_999, False),
        (2_000, 300, 2_000, True),
        (5_000, 300, 2_500, True),
        (2_000, 0, 0, False),
    ],
)
def test_behind_is_who_has_a_whole_turn_waiting(asked: int, got: int, waiting: int, behind: bool) -> None:
    sizes = turns(1e-5, behind=False)
    sizes.polled(asked, got, waiting)
    assert sizes.behind is behind
    assert sizes.size() == (MOST_BEHIND if behind else MOST_RECORDS)
