"""What the demo shows and sums up."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from rich.console import Console

from millstream.demo import render
from millstream.demo.render import Scene

_METRICS: dict[str, Any] = {
    "progressive": {"all": {"ROCAUC": 0.95, "F1": 0.9}, "last": {}},
    "served": {"all": {"ROCAUC": 0.9375123, "F1": None}, "last": {}},
    "last_label": {"all": {"ROCAUC": 0.5, "F1": 0.4}, "last": {}},
    "frequencies": {"all": {"ROCAUC": 0.49, "F1": 0.1}, "last": {}},
    "counted": {"served": 1200},
}
_SCENE = Scene(
    stream="phishing",
    seconds=12.34,
    total=1250,
    events=700,
    predictions=690,
    joined=640,
    learned=630,
    version="1/611",
    versions=9,
    delay_ms=850,
    lag={"predictor": 10, "joiner": 20, "learner": 30},
    metrics=_METRICS,
)
_FAR_BEHIND = {"predictor": 99_999, "joiner": 45_000, "learner": 45_000}
_LABELS = {"waiting": 50, "joined": 640, "duplicate": 0, "correction": 0, "contradicting": 0, "unmatched": 0}


def test_one_line_says_what_matters() -> None:
    line = render.line(_SCENE)
    for part in ("12.3 s", "700 of 1,250 events", "690 predictions", "630 learned", "version 1/611", "850 ms"):
        assert part in line
    assert "ROCAUC: served 0.9375, last known label 0.5000, class frequencies 0.4900" in line
    assert line.endswith("lag 10/20/30")


def test_before_the_first_version_nothing_is_made_up() -> None:
    scene = Scene("s", 0.5, 10, 3, 0, 0, 0, None, 0, None, {})
    assert "version none yet" in render.line(scene)
    assert "label to served" not in render.line(scene)
    assert "none yet" in render.picture(scene)


def test_the_picture_keeps_its_shape_whatever_the_numbers() -> None:
    small = render.picture(Scene("s", 0, 0, 0, 0, 0, 0, "1/0", 0, None, {})).splitlines()
    large = render.picture(_SCENE).splitlines()
    for column in ("┐", "├", "┘"):
        at = [next(line.index(column) for line in lines if column in line) for lines in (small, large)]
        assert at[0] == at[1]
    assert [line.rindex("┘") for line in (small[-1], large[-1])] == [len(small[-1]) - 1, len(large[-1]) - 1]


def test_a_terminal_shows_served_beside_both_baselines() -> None:
    out = io.StringIO()
    Console(file=out, width=120).print(render.live(_SCENE))
    shown = out.getvalue()
    for part in ("served", "last known label", "class frequencies", "0.9375", "1/611 (9 so far)", "850 ms", "lag 30"):
        assert part in shown


def test_80_columns_show_the_picture_whole_and_what_was_not_measured_as_no_number() -> None:
    scene = replace(_SCENE, total=45_000, events=45_000, predictions=44_990, joined=44_640, lag=_FAR_BEHIND)
    out = io.StringIO()
    Console(file=out, width=80).print(render.live(scene))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    for drawn, line in zip(render.picture(scene).splitlines(), lines[1:], strict=False):
        assert line.strip("│ ") == drawn.strip()
    [served] = [line.strip("│ ").split() for line in lines if line.strip("│ ").startswith("served ")]
    assert served == ["served", "0.9375", "–"]


def test_the_summary_has_unrounded_numbers_and_the_delays_quantiles() -> None:
    found = render.summary(_SCENE, list(range(100, 1100, 10)), _LABELS, 2.0, 0.5, 62.5)
    assert found["metrics"]["served"]["all"]["ROCAUC"] == 0.9375123
    assert found["label_to_served_ms"] == {"median": 595.0, "p95": 1040.5, "swaps": 100}
    assert found["labels"]["joined"] == 640
    words = render.closing_words(found, "phishing", "river:Phishing", "millstream broker stop")
    assert "median 595 ms, p95 1.04 s over 100 swaps" in words
    assert "millstream status phishing" in words
    assert "millstream publish phishing river:Phishing" in words
    assert "`millstream broker stop` stops it" in words


def test_without_a_swap_there_is_no_delay() -> None:
    found = render.summary(_SCENE, [], _LABELS, 2.0, None, 62.5)
    assert found["label_to_served_ms"] == {"median": None, "p95": None, "swaps": 0}
    assert "label to served" not in render.closing_words(found, "phishing", "river:Phishing", None)
