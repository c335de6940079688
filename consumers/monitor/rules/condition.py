"""Conditions of alert rules: texts such as ``f1 < 0.7``, ``missing(amount) > 5%`` and ``drift``."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from consumers.monitor.windows import EXAMPLES, METRICS, PREDICTIONS
from schemas.duration_text import spoken
from schemas.target import Task

DRIFT: Final = "drift"
MISSING: Final = "missing"
METRIC: Final = "metric"
ERRORS: Final = "errors"
EVENTS_PER_SECOND: Final = "events_per_second"
MODEL_AGE: Final = "model_age"
VERSION_LAG: Final = "version_lag"
UNCHANGED_EXAMPLES: Final = "unchanged_examples"
LATENCY: Final = "latency"
LABEL_DELAY: Final = "label_delay"

SERVED: Final[Mapping[str, tuple[Task, ...]]] = MappingProxyType(
    {
        "accuracy": ("binary", "multiclass"),
        "precision": ("binary",),
        "recall": ("binary",),
        "f1": ("binary", "multiclass"),
        "roc_auc": ("binary", "anomaly"),
        "log_loss": ("binary", "multiclass"),
        "mae": ("regression",),
        "rmse": ("regression",),
    }
)
"""Tasks of each metric of the served answers."""
QUANTILES: Final = (50, 90, 95, 99)
_MS: Final = 1.0
_SECOND: Final = 1000.0
# Length of one unit of a plain number (ms); other metrics are no times.
_TIMES: Final[Mapping[str, float]] = MappingProxyType(
    {
        **{f"{LATENCY}_p{each}": _MS for each in QUANTILES},
        **{f"{LABEL_DELAY}_p{each}": _SECOND for each in QUANTILES},
        **{f"{MODEL_AGE}_p{each}": _SECOND for each in QUANTILES},
        MODEL_AGE: _SECOND,
        VERSION_LAG: _SECOND,
    }
)
_UNITS: Final[Mapping[str, float]] = MappingProxyType(
    {"ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0, "d": 86_400_000.0}
)
_SHARES: Final = (ERRORS, MISSING, *SERVED.keys() - {"log_loss", "mae", "rmse"})
NAMES: Final = (*SERVED, ERRORS, EVENTS_PER_SECOND, *_TIMES, UNCHANGED_EXAMPLES, MISSING, METRIC, DRIFT)
_FORM: Final = re.compile(
    r"(?P<metric>.+?)\s*(?P<sign><=|>=|<|>)\s*(?P<number>[^<>=\s]+)(?:\s*(?P<unit>ms|s|m|h|d|%))?"
)
_OF: Final = re.compile(r"(?P<metric>\w+)\((?P<of>.+)\)")
_NUMBER_AND_UNIT: Final = re.compile(r"(?P<number>.*?\d\.?)(?P<unit>ms|s|m|h|d|%)")
_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = MappingProxyType(
    {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
)


class InvalidCondition(ValueError):  # noqa: N818
    """A text is no condition; the message says why, without the text."""


@dataclass(frozen=True)
class Condition:
    """A metric, and the values of it that fulfil the condition.

    Attributes
    ----------
    metric
        One of `NAMES`.
    of
        Name of the feature of `missing` and `drift`, or of the external metric of `metric`; else empty.
    sign, number
        Comparison: ``<``, ``<=``, ``>`` or ``>=``; both empty for drift, which is found or not. Latencies are in ms,
        other times in seconds, shares from 0 to 1.
    """

    metric: str
    of: str = ""
    sign: str = ""
    number: float = math.nan

    def holds(self, value: float) -> bool:
        """Return whether a value of the metric fulfils the condition; of drift, the number of findings."""
        return value > 0 if not self.sign else _COMPARE[self.sign](value, self.number)

    @property
    def kind(self) -> str:
        """Kind of the windows that hold the metric."""
        if self.metric in SERVED or self.metric.startswith(LABEL_DELAY):
            return EXAMPLES
        return METRICS if self.metric == METRIC else PREDICTIONS

    @property
    def falls(self) -> bool:
        """True if low values fulfil it."""
        return self.sign.startswith("<")

    @property
    def subject(self) -> str:
        """The metric with what it is of.

        >>> parse("metric:orders < 5").subject, parse("missing(amount) > 5%").subject
        ('metric:orders', 'missing(amount)')
        """
        if not self.of:
            return self.metric
        return f"{METRIC}:{self.of}" if self.metric == METRIC else f"{self.metric}({self.of})"

    def said(self, value: float) -> str:
        """Return a value of the metric as text, with its unit."""
        if self.metric in _TIMES:
            return spoken(value * _TIMES[self.metric])
        return f"{value:.4g}"

    def __str__(self) -> str:
        return f"{self.subject} {self.sign} {self.said(self.number)}" if self.sign else self.subject

    def overlaps(self, other: Condition) -> bool:
        """Return whether some values fulfil both this and `other`, of the same metric: then neither can end the other.

        >>> parse("f1 > 0.75").overlaps(parse("f1 < 0.7"))
        False
        """
        if self.falls == other.falls:
            return True
        low, high = (other, self) if self.falls else (self, other)
        both_at = low.number == high.number and low.holds(low.number) and high.holds(high.number)
        return low.number < high.number or both_at


def parse(text: str) -> Condition:
    """Read a condition.

    >>> parse("latency_p99 > 0.25s").number, parse("missing(amount) > 5%").number, parse("drift(amount)").of
    (250.0, 0.05, 'amount')

    Raises
    ------
    InvalidCondition
        If it is none.
    """
    words = text.strip()
    found = _FORM.fullmatch(words)
    metric, of = _subject(words if found is None else found["metric"])
    if metric == DRIFT:
        if found is not None:
            raise InvalidCondition("drift is found or not: leave out the comparison")
        return Condition(metric, of)
    if found is None:
        raise InvalidCondition(f"compare {metric} with a number, such as '{metric}{f'({of})' if of else ''} > 0.1'")
    number = _number(metric, found["number"], found["unit"])
    if metric in _SHARES and not 0 <= number <= 1:
        raise InvalidCondition(f"{metric} is a share from 0 to 1, such as 0.05 or 5%")
    if metric != METRIC and number < 0:
        raise InvalidCondition(f"{metric} is never below 0")
    return Condition(metric, of, found["sign"], number)


def _subject(text: str) -> tuple[str, str]:
    """Return the metric, and what it is of."""
    kind, _, name = text.partition(":")
    if kind.strip() == METRIC:
        if not name.strip():
            raise InvalidCondition("metric: needs a name, such as 'metric:orders < 5'")
        return METRIC, name.strip()
    found = _OF.fullmatch(text)
    metric = text if found is None else found["metric"]
    of = "" if found is None else found["of"].strip().strip("'\"")
    if metric not in NAMES:
        near = difflib.get_close_matches(metric, NAMES, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
        raise InvalidCondition(f"there is no metric {metric[:60]!r}; {hint}")
    if metric == METRIC:
        raise InvalidCondition("name the metric, such as 'metric:orders < 5'")
    if metric == MISSING and not of:
        raise InvalidCondition("name the feature, such as 'missing(amount) > 5%'")
    if of and metric not in (MISSING, DRIFT):
        raise InvalidCondition(f"{metric} is not of a feature; only missing and drift are")
    return metric, of


def _number(metric: str, text: str, unit: str | None) -> float:
    if unit is None and (glued := _NUMBER_AND_UNIT.fullmatch(text)) is not None:
        text, unit = glued["number"], glued["unit"]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidCondition(f"{text[:40]!r} is not a number")
    if unit is None:
        return number
    if unit == "%":
        if metric not in _SHARES:
            raise InvalidCondition(f"{metric} is not a share: write its number without %")
        return number / 100
    if metric not in _TIMES:
        raise InvalidCondition(f"{metric} is not a time: write its number without {unit}")
    return number * _UNITS[unit] / _TIMES[metric]
