"""Offsets as runs."""

from __future__ import annotations

from model_store.offset_runs import Offsets


def test_what_follows_is_a_run_that_takes_the_room_of_two() -> None:
    offsets = Offsets()
    for offset in range(10, 100_000, 2):
        offsets.add(offset, goes_on=offset > 10)
    assert offsets.runs() == [(10, 99_998)]
    assert all(offset in offsets for offset in (10, 12, 99_998))
    assert 9 not in offsets
    assert 99_999 not in offsets


def test_what_is_read_again_goes_on_as_it_was() -> None:
    for runs in ([], [5], [5, 6], [5, 9], [(5, 7), 20, (22, 30)]):
        assert Offsets(runs).runs() == runs
    again = Offsets([5, 6])
    again.add(7, goes_on=True)
    assert again.runs() == [(5, 7)]
    assert len(again) == 1


def test_only_the_newest_runs_are_kept_where_there_is_a_bound() -> None:
    offsets = Offsets()
    for offset in range(0, 100, 10):
        offsets.add(offset, goes_on=False, most=3)
    assert offsets.runs() == [70, 80, 90]
