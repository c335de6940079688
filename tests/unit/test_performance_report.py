"""Report of `millstream performance`, from windows as the monitor writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from test_served_sums import HOUR, MINUTE, SPAN, anomaly, binary, measured, multiclass, regression, rules, served

from consumers.monitor.profiles import merge
from consumers.monitor.served import ServedSums
from consumers.monitor.windows import EXAMPLES, PREDICTIONS, UNREADABLE
from millstream.evaluation.intervals import Estimate
from millstream.evaluation.performance.performance import NothingServed, Wanted, performance
from millstream.evaluation.performance.report import SERVED, PerformanceReport
from millstream.evaluation.performance.windows import WatchedLog, finest
from schemas.events import Example
from schemas.profiles import Window
from schemas.target import Task

BEGIN = 1_000_000_000_000 // SPAN * SPAN
WAIT = 2 * HOUR


def windows_of(examples: list[Example], task: Task) -> list[Window]:
    """Return the windows of examples that are on the log when their label came, and those of their predictions."""
    ordered = sorted(examples, key=lambda each: each.joined.label_time)  # type: ignore[union-attr]
    found: list[Window] = []
    state = b""
    by_start: dict[int, list[Example]] = {}
    for each in ordered:
        assert each.joined is not None
        by_start.setdefault(each.joined.label_time // SPAN * SPAN, []).append(each)
    offset = 0
    for start, some in by_start.items():
        sums = ServedSums(rules(task), state)
        sums.add(some, [start] * len(some))
        groups, state = sums.finish()
        found.append(window(EXAMPLES, start, len(some), offset, served=groups, last_time=start + SPAN - 1))
        offset += len(some)
    predicted: dict[int, int] = {}
    for each in examples:
        assert each.joined is not None
        start = each.joined.prediction_time // SPAN * SPAN
        predicted[start] = predicted.get(start, 0) + 1
    # One more prediction in each window that has no label, one that failed, and one that cannot be read.
    return found + [
        window(PREDICTIONS, start, count + 2, start, errors={"model": 1, UNREADABLE: 1})
        for start, count in predicted.items()
    ]


def window(kind: str, start: int, events: int, offset: int = 0, **more: Any) -> Window:
    made = Window(kind, kind, 0, offset, offset + events, start, SPAN, start, start + 1, events, {}, {}, 0, None, [])
    return msgspec.structs.replace(made, **more)


def report(examples: list[Example], task: Task, windows: list[Window] | None = None, **more: Any) -> PerformanceReport:
    log = WatchedLog(windows_of(examples, task) if windows is None else windows)
    return performance("fraud", log, Wanted(task, WAIT, **more))


TASKS: dict[Task, list[Example]] = {
    "binary": binary(4000),
    "multiclass": multiclass(4000),
    "regression": regression(4000, around=1e6),
    "anomaly": anomaly(4000),
}


@pytest.mark.parametrize("task", TASKS)
def test_metrics_are_those_of_all_answers_with_intervals_beside_the_baselines(task: Task) -> None:
    found = report(TASKS[task], task)
    ours = found.result(SERVED)
    assert found.measured == ours.counted == 4000
    expected = measured(TASKS[task], task)
    for name, estimate in ours.metrics.items():
        assert estimate.value == pytest.approx(expected[name], rel=1e-7), name
        assert estimate.low is not None, name
        assert estimate.low < estimate.value < estimate.high
    names = [each.name for each in found.results]
    mean = "running mean" if task == "regression" else "class frequencies"
    assert names == ([SERVED] if task == "anomaly" else [SERVED, "last label", mean])
    assert "4,000 labels" in str(found)


def test_by_window_says_what_share_has_a_label_and_where_labels_may_still_come() -> None:
    examples = TASKS["binary"]
    found = report(examples, "binary", by="window")
    assert sum(each.labels for each in found.groups) == 4000
    predicted = [each.joined.prediction_time for each in examples]  # type: ignore[union-attr]
    begin = min(predicted) // SPAN * SPAN
    first = found.groups[0]
    count = sum(begin <= time < begin + SPAN for time in predicted)
    assert (first.coverage.labelled, first.coverage.predictions) == (count, count + 1), "one more has no label"
    assert first.pending, "the wait is not over"
    assert "so far" in str(found)
    long_ago = performance("fraud", WatchedLog(windows_of(examples, "binary")), Wanted("binary", 1, "window"))
    assert not any(each.pending for each in long_ago.groups[:-1])


def test_by_slice_delay_and_epoch() -> None:
    examples = TASKS["binary"]
    by_slice = report(examples, "binary", by="slice")
    assert {each.value for each in by_slice.groups} == {"country: DE", "country: FR", "country: IT"}
    french = next(each for each in by_slice.groups if each.value == "country: FR")
    expected = measured([each for each in examples if each.event.features["country"] == "FR"], "binary")
    assert french.metrics[SERVED]["f1"].value == pytest.approx(expected["f1"])
    assert french.metrics["last label"]["accuracy"].value is not None
    assert [each.value for each in report(examples, "binary", by="delay").groups] == ["up to 1m", "up to 10m"]
    assert sum(each.labels for each in report(examples, "binary", by="epoch").groups) == 4000
    with pytest.raises(NothingServed, match="no windows with groups by decision"):
        report(examples, "binary", by="decision")


def test_only_the_metric_and_the_time_that_are_wanted() -> None:
    examples = TASKS["binary"]
    found = report(examples, "binary", metric="f1", begin_ms=BEGIN + HOUR // 2, end_ms=BEGIN + HOUR)
    assert list(found.bigger_is_better) == list(found.results[0].metrics) == ["f1"]
    assert 0 < found.measured < 4000
    assert (found.from_ms, found.to_ms) == (BEGIN + HOUR // 2, BEGIN + HOUR)
    with pytest.raises(NothingServed, match="in this time"):
        report(examples, "binary", begin_ms=BEGIN + 100 * HOUR)
    with pytest.raises(NothingServed, match="in any window yet"):
        report([], "binary")


def test_hours_stand_for_windows_that_are_deleted_and_only_for_these() -> None:
    windows = windows_of(TASKS["binary"], "binary")
    hours: dict[tuple[str, int], list[Window]] = {}
    for each in windows:
        hours.setdefault((each.kind, each.start // HOUR), []).append(each)
    merged = [merge(some, HOUR) for some in hours.values()]
    gone = (BEGIN // HOUR + 1) * HOUR
    kept = [each for each in windows if each.start >= gone]
    assert len(finest([*windows, *merged])) == len(windows), "the finest windows are complete"
    chosen = finest([*kept, *merged])
    assert {each.span for each in chosen} == {SPAN, HOUR}
    assert sum(each.events for each in chosen) == sum(each.events for each in windows)
    whole = report([], "binary", windows)
    again = report([], "binary", [*kept, *merged], by="window")
    assert again.result(SERVED).metrics["f1"].value == whole.result(SERVED).metrics["f1"].value
    assert again.coverage == whole.coverage
    assert all(each.value.endswith(":00") for each in again.groups), "rows are as long as the longest window"


def test_the_page_and_the_plain_values(tmp_path: Path) -> None:
    found = report(TASKS["binary"], "binary", by="window")
    text = found.html(tmp_path / "page.html").read_text()
    assert "Over time" in text
    assert "By window" in text
    assert "Calibration" in text
    plain = found.to_dict()
    assert plain["groups"][0]["metrics"][SERVED]["f1"]["value"] == found.groups[0].metrics[SERVED]["f1"].value
    shares = [each.right for each in found.calibration]
    assert shares == sorted(shares), "labels were drawn with the probability that was served"


def test_one_label_is_enough() -> None:
    one = [served(1, True, True, {"true": 0.9, "false": 0.1}, delay=MINUTE)]
    found = report(one, "binary", by="window")
    assert found.measured == 1
    assert found.result(SERVED).metrics["accuracy"] == Estimate(1.0)
