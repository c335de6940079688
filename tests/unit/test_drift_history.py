"""History of windows: what late, repeated and old ones change, and how much is kept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
import pytest

from consumers.monitor.drift import rows
from consumers.monitor.drift.history import History
from consumers.monitor.drift.judge import Judge
from consumers.monitor.drift.rows import RANKS, Names, row_of
from consumers.monitor.drift.rules import DriftRules, Trailing
from consumers.monitor.profiles import WindowProfiles, merge, quantiles
from schemas.profiles import DAY_MS, HOUR_MS, Window

START = 20_000 * DAY_MS
MINUTE_MS = HOUR_MS // 60
SHORT = 5 * MINUTE_MS


def made(events: Sequence[dict[str, Any]], *, most_features: int = 500, declared: Sequence[str] = ()) -> Window:
    """Return the window of some predictions."""
    profiles = WindowProfiles(most_features, None, declared=declared)
    profiles.add_features(events)
    found, pairs, left_out = profiles.finish(len(events))
    return Window(
        kind="predictions",
        topic="s.predictions",
        partition=0,
        first_offset=0,
        next_offset=len(events),
        start=START,
        span=SHORT,
        first_time=START,
        last_time=START + SHORT - 1,
        events=len(events),
        errors={},
        profiles=found,
        left_out=left_out,
        pairs=pairs,
        served=[],
    )


TWO = made([{"amount": 1.0}, {"amount": 2.0}])


def at(minutes: float, *, partition: int = 0, span: int = SHORT, of: Window = TWO) -> Window:
    """Return a window that begins so many minutes after the beginning."""
    start = START + round(minutes * MINUTE_MS)
    return msgspec.structs.replace(of, partition=partition, start=start, span=span, first_offset=round(minutes * 100))


def test_a_partition_that_is_days_behind_ends_no_monitor() -> None:
    judge = Judge(DriftRules(SHORT, 1 / DAY_MS, Trailing(HOUR_MS)))
    for number in range(30 * 12):
        judge.take(at(60 * 60 + 5 * number))
        judge.take(at(5 * number, partition=1))
    assert judge.windows(START, START + DAY_MS)


def test_a_window_that_is_written_again_counts_once() -> None:
    history = History(SHORT, 8 * DAY_MS)
    merged = []
    for number in range(30):
        merged += history.take(at(5 * number)).merged
    again = history.take(at(0))
    assert (again.buckets, again.merged) == ([], [])
    assert [each.events for each in merged] == [24, 24]
    assert sum(each.events for each in history.windows(START, START + HOUR_MS)) == 24
    history.take(at(29 * 5))
    history.take(at(31 * 5))
    assert [each.events for each in history.take(at(32 * 5)).merged] == []
    assert history.windows(START + 29 * SHORT, START + 30 * SHORT)[0].events == 2
    tombstones = [key for day in range(1, 12) for key in history.take(at(24 * 60 * day)).tombstones]
    assert tombstones.count(at(0).key) == 1


@pytest.mark.parametrize("minutes", [90, 120, 360])
def test_windows_of_more_than_an_hour_are_dropped_with_the_reference(minutes: int) -> None:
    history = History(minutes * MINUTE_MS, 2 * DAY_MS)
    for number in range(10 * 24 * 60 // minutes):
        history.take(at(minutes * number, span=minutes * MINUTE_MS))
    kept = [each for each in history.windows(0, START + 99 * DAY_MS) if each.span < DAY_MS]
    assert len(kept) <= 3 * DAY_MS // (minutes * MINUTE_MS)
    assert len(history.scales[0].closed) <= 3 * DAY_MS // (minutes * MINUTE_MS)


def test_a_late_window_leaves_no_old_window_decoded_in_memory() -> None:
    history = History(SHORT, 8 * DAY_MS)
    for number in range(30 * 12):
        history.take(at(5 * number))
        if number % 12 == 0 and number > 5 * 12:
            history.take(at(5 * (number - 5 * 12), partition=1))
    newest = START + 30 * HOUR_MS
    for scale in history.scales:
        whole = [start for start, each in scale.closed.items() if each.window is not None]
        assert all(start + scale.span > newest - 3 * HOUR_MS - SHORT for start in whole)
    assert sum(each.events for each in history.windows(START + HOUR_MS, START + 2 * HOUR_MS)) == 26


def test_whether_a_time_is_known_is_whether_a_window_begins_by_then() -> None:
    history = History(SHORT, 8 * DAY_MS)
    assert not history.knows(START + DAY_MS)
    for number in range(30):
        history.take(at(10 * 60 + 5 * number))
    assert not history.knows(START + 10 * HOUR_MS - 1)
    assert history.knows(START + 10 * HOUR_MS)
    for number in range(4 * 24):
        history.take(at(10 * 60 + 60 * number + 150))
    assert not history.knows(START - 1)
    assert history.knows(START)  # the day that begins then


def test_a_row_has_the_quantiles_of_its_window() -> None:
    numbers = np.random.default_rng(1).exponential(1, 500)
    window = made([{"amount": float(each)} for each in numbers])
    found = window.profiles["feature:amount"].numbers
    assert found is not None
    row = row_of(window, Names())
    assert row.quantiles[0] == pytest.approx(quantiles(found, RANKS))
    ranks = [(numbers <= each).mean() for each in row.quantiles[0]]
    assert ranks == pytest.approx(RANKS, abs=0.005)


def test_names_that_never_end_are_judged_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_SUBJECTS", 4)
    monkeypatch.setattr(rows, "MOST_PAIRS", 3)
    names = Names()
    random = np.random.default_rng(1)
    columns = random.normal(0, 1, (6, 40))
    for first in range(4):
        events = [{f"n{first + place}": float(each[event]) for place, each in enumerate(columns)} for event in range(9)]
        window = made(events)
        window.profiles["answer:prediction"] = window.profiles[f"feature:n{first}"]
        row = row_of(window, names)
        assert len(row.counts) == len(row.quantiles) == len(names.subjects)
        assert len(row.correlations) == len(row.pair_counts) == len(names.pairs)
    assert sorted(names.subjects) == ["answer:prediction", *(f"feature:n{place}" for place in range(4))]
    assert len(names.pairs) == 3
    last = names.subjects["feature:n3"]
    assert row.mean[last] == pytest.approx(columns[0][:9].mean())
    assert np.isnan(row.mean[names.subjects["feature:n0"]])
    assert row.mean[names.subjects["answer:prediction"]] == pytest.approx(columns[0][:9].mean())


def test_hours_of_several_partitions_have_the_features_that_their_windows_have() -> None:
    names = [f"f{place:03}" for place in range(6)]
    merging = partial(merge, most_features=4, declared=["f005"])
    history = History(SHORT, 8 * DAY_MS, merging=merging)
    merged = []
    for number in range(30):
        for partition in (0, 1):
            events = [dict.fromkeys([*names[partition * 3 :][:3], "f005"], 1.0)]
            window = made(events, most_features=4, declared=["f005"])
            merged += history.take(at(5 * number, partition=partition, of=window)).merged
    assert {name for each in merged for name in each.profiles} == {f"feature:f{place:03}" for place in (0, 1, 2, 5)}
