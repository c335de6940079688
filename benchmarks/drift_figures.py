"""`python -m benchmarks false-alarms drift-delays`: figures of judging drift on simulated streams."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from scipy import stats

from benchmarks.drift_datasets import change_of_elec2, of_concepts, of_elec2
from benchmarks.drift_streams import CHANGES, EVENTS, drawn
from benchmarks.false_alarms import CHANGE_HOUR, REFERENCE_DAYS, Alarm, adwin_alarms, alarms
from benchmarks.figures import Figure, Spread, percentile
from benchmarks.peers import environment
from benchmarks.rig import Rig
from benchmarks.throughput import Size

STREAMS, DAYS = 200, 30
CHANGED_STREAMS, CHANGED_DAYS = 15, 8
_EVIDENTLY_STREAMS: Final = 5

EXPECTED: Final[dict[str, str]] = dict(
    zip(
        CHANGES,
        (*["feature:normal_0"] * 2, "feature:colour", "normal_1 ~ normal_2", "feature:normal_0", "label:value"),
        strict=True,
    )
)
"""Subject of the finding that each change must lead to."""


def most_streams(streams: int) -> int:
    """Return how many streams may have an alarm, at 95 %, if each has one alarm in its time on average."""
    return int(stats.binom.ppf(0.95, streams, 1 - math.exp(-1)))


def false_alarms(rig: Rig, size: Size) -> list[Figure]:
    """How many streams without drift have an alarm, beside other detectors."""
    streams, days = (STREAMS, DAYS) if size.rounds > 1 else (4, 3)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        ours = list(pool.map(alarms, range(streams), [days] * streams))
        adwin = list(pool.map(adwin_alarms, range(streams), [days] * streams))
    return [figure_of_false_alarms(ours, adwin, evidently(_EVIDENTLY_STREAMS, days), days)]


def figure_of_false_alarms(
    ours: Sequence[Sequence[Alarm]], adwin: Sequence[Sequence[Alarm]], evidently: Sequence[int], days: int
) -> Figure:
    """Return the figure: streams with an alarm; `evidently` has the days with one, by stream."""
    streams = len(ours)
    behind = {
        "findings": float(sum(map(len, ours))),
        "never alarms": 0.0,
        "always alarms": float(streams),
        "ADWIN, streams": float(sum(map(bool, adwin))),
        "ADWIN, alarms": float(sum(map(len, adwin))),
    }
    if evidently:
        behind[f"Evidently, days with a drifted column of {days * len(evidently)}"] = float(sum(evidently))
    return Figure(
        "false-alarms",
        f"drift: of {streams} streams of {days} days without drift, those with an alarm",
        Spread((float(sum(map(bool, ours))),)),
        "streams",
        "at most",
        float(most_streams(streams)),
        {name: Spread((value,)) for name, value in behind.items()},
        "20 features, their pairs and the label; budget 1 per 30 d; the bound is the binomial's 95 %; windows of an "
        f"hour with {EVENTS} events; ADWIN with its defaults on hourly means; Evidently's default tests day by day",
    )


def evidently(streams: int, days: int) -> list[int]:
    """Return on how many days Evidently's default tests call a column drifted, by stream; empty without Evidently."""
    python = environment.evidently()
    found = []
    for seed in range(streams if python is not None else 0):
        made = drawn(seed, (REFERENCE_DAYS + days) * 24)
        columns = {name: each.reshape(-1) for name, each in {**made.numbers, **made.categories}.items()}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "columns.npz"
            np.savez(path, **columns, allow_pickle=False)
            arguments = [str(path), str(REFERENCE_DAYS * 24 * EVENTS), str(24 * EVENTS)]
            command = [str(python), str(environment.program("evidently_drift")), *arguments]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found.append(sum(count > 0 for count in json.loads(said)))
    return found


def drift_delays(rig: Rig, size: Size) -> list[Figure]:
    """After how many hours each kind of change is found."""
    streams = CHANGED_STREAMS if size.rounds > 1 else 2
    seeds = range(1000, 1000 + streams)
    figures = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for change in CHANGES:
            given = (seeds, [CHANGED_DAYS] * streams, [change] * streams)
            ours, adwin = list(pool.map(alarms, *given)), list(pool.map(adwin_alarms, *given))
            figures.append(figure_of_delay(change, ours, adwin))
    for kind in ("SEA", "Agrawal"):
        ours = [of_concepts(kind, seed) for seed in range(0, 10 * min(streams, 5), 10)]
        figures.append(
            _figure(f"{kind}: the concept changes, its features stay", [_first(each, "") for each in ours], {})
        )
    elec2 = [each.told_hour - change_of_elec2() for each in of_elec2() if each.told_hour > change_of_elec2()]
    figures.append(_figure("Elec2: three constant features begin to vary", [min(elec2, default=None)], {}))
    return figures


def figure_of_delay(change: str, ours: Sequence[Sequence[Alarm]], adwin: Sequence[Sequence[Alarm]]) -> Figure:
    """Return the figure of one change."""
    theirs = [_first(each, EXPECTED[change]) for each in adwin]
    behind = {"ADWIN, missed of all": float(theirs.count(None))}
    known = [each for each in theirs if each is not None]
    if known:
        behind["ADWIN, median hours"] = statistics.median(known)
    return _figure(change, [_first(each, EXPECTED[change]) for each in ours], behind)


def _first(found: Sequence[Alarm], subject: str) -> int | None:
    """Return the hours from the change until the first finding of a subject."""
    later = [each for each in found if each.told_hour > CHANGE_HOUR and subject in {"", each.subject}]
    return min((each.told_hour - CHANGE_HOUR for each in later), default=None)


def _figure(change: str, hours: Sequence[int | None], behind: dict[str, float]) -> Figure:
    known = [float(each) for each in hours if each is not None]
    missed = len(hours) - len(known)
    figures = {"90 %": percentile(known, 0.9) if known else math.nan, "missed": float(missed), **behind}
    return Figure(
        f"drift-delay-{change}",
        f"drift: hours until it is found: {change}",
        Spread((statistics.median(known) if known else math.nan,)),
        "h",
        "at most",
        24.0,
        {name: Spread((value,)) for name, value in figures.items()},
        f"{len(hours)} streams with {EVENTS} events an hour; counted until the hour in which it was found had ended",
        missed > len(hours) // 10,
    )
