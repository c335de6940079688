"""Columns of a window: the watched values of predictions, examples and downstream records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from consumers.monitor.windows import TOO_MANY_NAMES, UNREADABLE
from schemas.codec import CodecError
from schemas.event_times import read_event_time
from schemas.events import Example, FeatureValue, LabelValue, Outcome, read_example, read_prediction
from schemas.profiles import ANSWER, LABEL, LOOP, METRIC
from schemas.sources.metrics import MOST_NAMES

if TYPE_CHECKING:
    from consumers.monitor.version_ages import VersionAges
    from consumers.monitor.windows import OpenWindow
    from runtime.kafka_client.records import Record

T = TypeVar("T")
PREDICTION: Final = f"{ANSWER}:prediction"
SCORE: Final = f"{ANSWER}:score"
LABEL_VALUE: Final = f"{LABEL}:value"
LATENCY: Final = f"{LOOP}:latency_ms"
LABEL_DELAY: Final = f"{LOOP}:label_delay_ms"
MODEL_AGE: Final = f"{LOOP}:model_age_ms"
VERSION: Final = f"{LOOP}:version"
_TRUE: Final = "true"


def decoded(
    records: Sequence[Record], read: Callable[[bytes], T], into: OpenWindow
) -> tuple[Sequence[Record], list[T]]:
    """Return the records that could be decoded, and what is in them; count the others as errors of the window."""
    try:
        return records, [read(record.value or b"") for record in records]
    except CodecError:
        pass
    good: list[Record] = []
    values: list[T] = []
    for record in records:
        try:
            values.append(read(record.value or b""))
        except CodecError:
            into.errors[UNREADABLE] += 1
        else:
            good.append(record)
    return good, values


class PredictionReader:
    """Adds whole predictions: their features, their answers, and how the loop answered.

    Parameters
    ----------
    ages
        Ages of the versions at their answers; without it, windows do not have them.
    """

    def __init__(self, ages: VersionAges | None = None) -> None:
        self._ages = ages

    def add(self, records: Sequence[Record], into: OpenWindow) -> None:
        read, predictions = decoded(records, read_prediction, into)
        into.events += len(predictions)
        into.profiles.add_features([each.event.features for each in predictions])
        outcomes = [each.outcome for each in predictions]
        for outcome in outcomes:
            if outcome.error is not None:
                into.errors[outcome.error.code] += 1
        into.profiles.add(PREDICTION, [_single(each.prediction) for each in outcomes])
        into.profiles.add(SCORE, [_score(each) for each in outcomes])
        into.profiles.add(VERSION, [None if each.epoch < 0 else f"{each.model}:{each.epoch}" for each in outcomes])
        into.profiles.add(LATENCY, _latencies(read))
        times = [record.timestamp for record in read]
        into.versions.add(outcomes, times)
        if self._ages is not None and outcomes:
            into.profiles.add(MODEL_AGE, self._ages.of(outcomes, times))


def _single(value: LabelValue | None) -> FeatureValue:
    """Return an answer or a label; no task has one of several values."""
    return None if isinstance(value, dict) else value


def _score(outcome: Outcome) -> float | None:
    """Return the probability of true, or else that of the most probable class."""
    shares = outcome.probabilities
    if not shares:
        return None
    return shares[_TRUE] if _TRUE in shares else max(shares.values())


def _latencies(records: Iterable[Record]) -> list[int]:
    """Return the times (ms) from events to their answers, both by the broker, where predictors have marked them."""
    found: list[int] = []
    for record in records:
        if record.headers and (event := read_event_time(record.headers)) is not None:
            found += [max(0, record.timestamp - event.time)] * event.events
    return found


class ExampleReader:
    """Adds examples: the labels of served answers, and the sums of their metrics."""

    def add(self, records: Sequence[Record], into: OpenWindow) -> None:
        read, examples = decoded(records, read_example, into)
        into.events += len(examples)
        into.profiles.add(LABEL_VALUE, [_label(each) for each in examples])
        into.profiles.add(LABEL_DELAY, [_delay(each) for each in examples])
        if into.served is not None:
            into.served.add(examples, [record.timestamp for record in read])


def _label(example: Example) -> FeatureValue:
    """Return the label of a served answer: neither a correction nor uploaded history says how labels are now."""
    if example.label is None or example.joined is None or example.label.kind == "correction":
        return None
    return _single(example.label.value)


def _delay(example: Example) -> int | None:
    """Return the time (ms) from a prediction to its label, by the broker."""
    joined = example.joined
    return None if joined is None or joined.label_time < 0 else joined.label_time - joined.prediction_time


class MetricReader:
    """Adds records of a downstream topic.

    Parameters
    ----------
    read
        Returns the numbers of a record, by name. Raises CodecError if it cannot be decoded.
    """

    def __init__(self, read: Callable[[Record], Mapping[str, float]]) -> None:
        self._read = read

    def add(self, records: Sequence[Record], into: OpenWindow) -> None:
        values: dict[str, list[float]] = {}
        for record in records:
            try:
                row = self._read(record)
            except CodecError:
                into.errors[UNREADABLE] += 1
                continue
            into.events += 1
            for name, value in row.items():
                if name not in into.metrics and len(into.metrics) >= MOST_NAMES:
                    into.errors[TOO_MANY_NAMES] += 1
                    continue
                into.metrics.add(name)
                values.setdefault(name, []).append(value)
        for name, found in values.items():
            into.profiles.add(f"{METRIC}:{name}", found)
