"""What River's detectors are fed with."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from consumers.monitor.drift.detecting import Detecting
from consumers.monitor.drift.rows import Names, row_of
from consumers.monitor.profiles import WindowProfiles
from schemas.profiles import HOUR_MS, Window


class Recorder:
    """A detector that keeps what it is fed with."""

    drift_detected = False

    def __init__(self) -> None:
        self.seen: list[float] = []

    def update(self, x: float) -> object:
        self.seen.append(x)
        return self


def window(number: int, values: list[Any]) -> Window:
    profiles = WindowProfiles()
    profiles.add_features([{"colour": each} for each in values])
    found, pairs, left_out = profiles.finish(len(values))
    start = number * HOUR_MS
    return Window(
        "predictions", "s.predictions", 0, number, number + 1, start, HOUR_MS, start, start + 1, len(values), {}, found,
        left_out, pairs, [],
    )  # fmt: skip


def fed(windows: list[list[Any]]) -> list[float]:
    """Return what the detector of a feature is fed with."""
    recorder, names = Recorder(), Names()
    detecting = Detecting({"feature:colour": lambda: recorder}, None)
    for number, values in enumerate(windows):
        each = window(number, values)
        detecting.take(each, row_of(each, names))
    return recorder.seen


def test_a_text_is_fed_as_the_share_of_one_category_also_where_it_is_absent() -> None:
    shares = fed([["blue", "red", "red", "red"], ["red", "red"], ["red", "azure"], ["blue", "azure"]])
    assert shares == [0.25, 0, 0, 0.5]


def test_windows_without_a_value_feed_nothing_and_numbers_are_their_mean() -> None:
    assert fed([[None], ["blue", "red"], [None, None], ["red"]]) == [0.5, 0]
    assert np.allclose(fed([[1.0, 2.0], [4]]), [1.5, 4])


def test_only_the_first_window_with_categories_decides_which_one() -> None:
    recorder = Recorder()
    detecting = Detecting({"feature:colour": lambda: recorder}, None)
    each = window(0, ["a", "b"])
    empty = msgspec.structs.replace(each, profiles={})
    for one in (empty, each, window(1, ["b"])):
        detecting.take(one, row_of(one, Names()))
    assert recorder.seen == [0.5, 0]
