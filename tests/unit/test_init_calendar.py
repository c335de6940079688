"""`init` proposes a `Calendar` where the time of the rows helps on them, and says so either way."""

from __future__ import annotations

import csv
import datetime as dt
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from user_files import forgetful

import millstream
from millstream.check.check import check
from millstream.cli.app import run
from millstream.stream.load import load_stream

__all__ = ["forgetful"]

BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rides(minutes_at: Callable[[dt.datetime], float], every: dt.timedelta, *more: str) -> None:
    """Write rides whose length depends on their start, and by chance."""
    rng, when = random.Random(7), BEGIN
    with Path("rides.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["started_at", "distance", *more, "minutes"])
        for number in range(900):
            when += every * rng.uniform(0.5, 1.5)
            distance = rng.uniform(1, 9)
            minutes = 2 * distance + minutes_at(when) + rng.gauss(0, 1)
            writer.writerow(
                [when.isoformat(), f"{distance:.2f}", *("1.5" if number % 2 else "0.5" for _ in more), minutes]
            )


def by_hour(when: dt.datetime) -> float:
    return 8 * math.cos((when.hour - 8) / 24 * 2 * math.pi)


HOURLY = dt.timedelta(minutes=40)


def test_an_hour_that_helps_becomes_a_calendar(capsys: pytest.CaptureFixture[str]) -> None:
    rides(by_hour, HOURLY)
    assert run(["init", "rides", "--from", "rides.csv"]) == 0
    said = capsys.readouterr().out
    assert "note: the calendar: with the hour and the weekday of 'started_at' in UTC: mean absolute error " in said
    loaded = load_stream("rides.py")
    assert loaded.stream.calendar == millstream.Calendar("hour_sin", "hour_cos", "weekday_sin", "weekday_cos", tz="UTC")
    assert check(loaded, place="rides.csv").errors == ()
    report = millstream.evaluate("rides.py", on="rides.csv")
    error = report.result("rides, progressive").metrics["MAE"].value
    assert error is not None
    assert f"mean absolute error {error:.4g} with the calendar" in said


def test_it_is_declined(capsys: pytest.CaptureFixture[str]) -> None:
    rides(by_hour, HOURLY)
    for words in (["--no-calendar"], ["--time", "none"]):
        assert run(["init", "rides", "--from", "rides.csv", *words]) == 0
        assert "calendar:" not in capsys.readouterr().out
        assert load_stream("rides.py").stream.calendar is None
        Path("rides.py").unlink()


def test_a_time_that_does_not_help_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    rides(lambda when: 0.0, HOURLY)
    assert run(["init", "rides", "--from", "rides.csv"]) == 0
    assert (
        "note: no calendar: nothing is gained by the hour and the weekday of 'started_at': mean"
        in capsys.readouterr().out
    )
    assert load_stream("rides.py").stream.calendar is None
    assert "Calendar" not in Path("rides.py").read_text()


def test_times_that_do_not_vary_are_not_tried(capsys: pytest.CaptureFixture[str]) -> None:
    rides(by_hour, dt.timedelta(seconds=5))
    assert run(["init", "rides", "--from", "rides.csv"]) == 0
    assert "calendar:" not in capsys.readouterr().out


def test_a_column_that_has_the_name_of_a_feature_of_the_calendar_stays(capsys: pytest.CaptureFixture[str]) -> None:
    rides(by_hour, HOURLY, "hour_sin")
    assert run(["init", "rides", "--from", "rides.csv"]) == 0
    assert "calendar:" not in capsys.readouterr().out
    assert "hour_sin" in load_stream("rides.py").stream.features


def test_days_have_no_hour(capsys: pytest.CaptureFixture[str]) -> None:
    rides(lambda when: 12 * math.cos(when.month / 12 * 2 * math.pi), dt.timedelta(days=1))
    with Path("rides.csv").open() as file:
        head, *rows = list(csv.reader(file))
    with Path("rides.csv").open("w", newline="") as file:
        csv.writer(file).writerows([head, *([row[0][:10], *row[1:]] for row in rows)])
    assert run(["init", "rides", "--from", "rides.csv"]) == 0
    assert "the calendar: with the weekday and the month of 'started_at'" in capsys.readouterr().out
    assert load_stream("rides.py").stream.calendar is not None
