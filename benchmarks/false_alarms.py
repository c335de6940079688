"""How often drift is found where there is none, and how soon where there is: simulated streams, no broker, no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.drift_streams import START_MS, Days, drawn, windows
from consumers.monitor.drift.findings import Finding
from consumers.monitor.drift.judge import Judge
from consumers.monitor.drift.rules import DriftRules, Trailing
from schemas.profiles import DAY_MS, HOUR_MS

REFERENCE_DAYS = 7
CHANGE_HOUR = 5 * 24 + 7
"""Hour after the reference at which a stream changes."""
RULES = DriftRules(HOUR_MS, 1 / (30 * DAY_MS), Trailing(REFERENCE_DAYS * DAY_MS))


@dataclass(frozen=True)
class Alarm:
    """Beginning of a finding; hours count from the end of the reference."""

    check: str
    subject: str
    since_hour: int
    told_hour: int
    text: str


def alarms(seed: int, days: int, change: str | None = None) -> list[Alarm]:
    """Return the findings of a stream of so many days after the reference."""
    made = drawn(seed, (REFERENCE_DAYS + days) * 24 + 2, change, REFERENCE_DAYS * 24 + CHANGE_HOUR)
    judge, found = Judge(replace(RULES, merging=Days(made).merge)), list[Alarm]()
    open_before: set[tuple[str, str]] = set()
    for window in windows(made):
        if window.start < START_MS + REFERENCE_DAYS * DAY_MS:
            judge.learn([window])
            continue
        judgement = judge.take(window)
        if judgement is not None:
            found += new_alarms(judgement.findings, open_before, judgement.at_ms)
            open_before = {(each.check, each.subject) for each in judgement.findings}
    return found


def adwin_alarms(seed: int, days: int, change: str | None = None) -> list[Alarm]:
    """Return what River's ADWIN, with its defaults, detects in the hourly means of each value of the same stream."""
    from river.drift import ADWIN

    made = drawn(seed, (REFERENCE_DAYS + days) * 24 + 2, change, REFERENCE_DAYS * 24 + CHANGE_HOUR)
    means = {f"feature:{name}": np.nanmean(each, axis=1) for name, each in made.numbers.items()}
    means |= {f"feature:{name}": (each == 0).mean(axis=1) for name, each in made.categories.items()}
    means["label:value"] = made.labels.mean(axis=1)
    found = []
    for subject, values in means.items():
        detector = ADWIN()
        for hour, value in enumerate(values.tolist(), -REFERENCE_DAYS * 24):
            detector.update(value)
            if detector.drift_detected and hour >= 0:
                found.append(Alarm("ADWIN", subject, hour, hour + 1, ""))
    return found


def new_alarms(findings: list[Finding], before: set[tuple[str, str]], at_ms: int) -> Iterator[Alarm]:
    """Yield the findings that were not open before."""
    zero = START_MS + REFERENCE_DAYS * DAY_MS
    for each in findings:
        if (each.check, each.subject) not in before:
            yield Alarm(
                each.check, each.subject, (each.since_ms - zero) // HOUR_MS, (at_ms - zero) // HOUR_MS, each.text
            )
