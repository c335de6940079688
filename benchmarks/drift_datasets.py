"""Drift in the data of the literature: SEA, Agrawal and Elec2, as windows of a simulated hour."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from river import linear_model, preprocessing
from river.datasets import synth
from river.drift import ADWIN

from benchmarks.drift_streams import START_MS, window
from benchmarks.false_alarms import CHANGE_HOUR, REFERENCE_DAYS, RULES, Alarm, new_alarms
from benchmarks.material import rows
from consumers.monitor.drift.judge import Judge
from consumers.monitor.profiles import WindowProfiles
from schemas.profiles import HOUR_MS, Window

EVENTS = 240
"""Events an hour; of Elec2 48, which are a day of the market."""
ELEC2_CHANGE = 17_424
"""Row of Elec2 (a whole day) around which three features, constant until then, begin to vary."""

Labelled = tuple[dict[str, Any], Any]


def of_concepts(kind: str, seed: int, after_days: int = 4) -> list[Alarm]:
    """Return the findings of a stream of `SEA` or `Agrawal` whose concept changes; its features stay as they are."""
    hours = (REFERENCE_DAYS + after_days + 6) * 24
    at = (REFERENCE_DAYS * 24 + CHANGE_HOUR) * EVENTS
    if kind == "SEA":
        before, after = (synth.SEA(variant=variant, seed=seed + variant) for variant in (0, 3))
    else:
        before, after = (synth.Agrawal(classification_function=each, seed=seed + each) for each in (0, 3))
    whole = itertools.chain(before.take(at), after.take(hours * EVENTS - at))
    return _alarms(whole, EVENTS, REFERENCE_DAYS * 24)


def of_elec2() -> list[Alarm]:
    """Return the findings in Elec2."""
    return _alarms(((dict(each.features), each.label) for each in rows()), 48, REFERENCE_DAYS * 24)


def _alarms(events: Iterable[Labelled], each_hour: int, reference_hours: int) -> list[Alarm]:
    errors: dict[int, float] = {}
    rules = RULES.__class__(
        RULES.window_ms,
        RULES.alarms_per_ms,
        RULES.reference,
        {"error": lambda: ADWIN(delta=1e-5, clock=1)},
        lambda seen: errors.get(seen.start),
    )
    judge, found = Judge(rules), list[Alarm]()
    before: set[tuple[str, str]] = set()
    for each in _windows(events, each_hour, errors):
        judgement = judge.take(each)
        if judgement is not None and each.start >= START_MS + reference_hours * HOUR_MS:
            found += new_alarms(judgement.findings, before, judgement.at_ms)
            before = {(finding.check, finding.subject) for finding in judgement.findings}
    return found


def _windows(events: Iterable[Labelled], each_hour: int, errors: dict[int, float]) -> Iterator[Window]:
    """Yield windows of features and of labels; `errors` gets the share of wrong answers of a model that learns on."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    remaining = iter(events)
    for hour in itertools.count():
        taken = list(itertools.islice(remaining, each_hour))
        if len(taken) < each_hour:
            return
        wrong = 0
        for features, label in taken:
            numbers = {name: value for name, value in features.items() if isinstance(value, int | float)}
            wrong += model.predict_one(numbers) != bool(label)
            model.learn_one(numbers, bool(label))
        inputs, labels = WindowProfiles(500, None), WindowProfiles(500, None)
        inputs.add_features([{str(name): value for name, value in features.items()} for features, _ in taken])
        labels.add("label:value", [bool(label) for _, label in taken])
        errors[START_MS + hour * HOUR_MS] = wrong / each_hour
        profiles, pairs, _ = inputs.finish(each_hour)
        yield window("predictions", hour, profiles, pairs, each_hour)
        yield window("examples", hour, labels.finish(each_hour)[0], None, each_hour)


def change_of_elec2() -> int:
    """Return the hour, from the end of the reference, in which the change of Elec2 lies."""
    return ELEC2_CHANGE // 48 - REFERENCE_DAYS * 24
