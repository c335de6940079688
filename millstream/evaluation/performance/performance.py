"""Performance of a stream, from its windows to a report."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from consumers.model.metric_totals import Totals
from consumers.model.quality import BASELINES
from consumers.monitor.served import measures
from consumers.monitor.served.facets import DELAYS, NO_LABEL, SLICE
from consumers.monitor.served.groups import ALL, Sums, decoded, labelled_in, together
from consumers.monitor.served.groups import Group as Key
from consumers.monitor.windows import UNREADABLE
from millstream.evaluation.findings import Kind
from millstream.evaluation.intervals import Values, coarse
from millstream.evaluation.lines import Line, differences
from millstream.evaluation.performance.report import SERVED, Bin, Coverage, Group, PerformanceReport
from millstream.evaluation.performance.windows import WatchedLog
from millstream.reading.timestamps import utc
from schemas.profiles import DAY_MS, HOUR_MS, Window
from schemas.target import Task

By = Literal["window", "slice", "delay", "epoch", "decision"]
_MOST_ROWS: Final = 60
_MOST_BLOCKS: Final = 120
_ORDER: Final = {value: place for place, value in enumerate((*DELAYS, NO_LABEL))}


class NothingServed(Exception):  # noqa: N818
    """There are no served answers with labels to report on; the message says why, and what would help."""


@dataclass(frozen=True)
class Wanted:
    """What to report.

    Attributes
    ----------
    begin_ms, end_ms
        Broker's times between which the labels came; `None` where it is open.
    wait_ms
        How long a prediction waits for its label.
    metric
        The only metric to show; `None` for all.
    """

    task: Task
    wait_ms: int
    by: By | None = None
    begin_ms: int | None = None
    end_ms: int | None = None
    metric: str | None = None

    def holds(self, window: Window) -> bool:
        """Return whether a window begins within the time."""
        late_enough = self.begin_ms is None or window.start + window.span > self.begin_ms
        return late_enough and (self.end_ms is None or window.start < self.end_ms)


def performance(name: str, log: WatchedLog, wanted: Wanted) -> PerformanceReport:
    """Return the report on the stream of this name.

    Raises
    ------
    NothingServed
        If no label of a served answer came in that time, or none in the groups that are wanted.
    """
    windows = [each for each in log.examples if wanted.holds(each)]
    measured = [_Measured(each, decoded(each.served)) for each in windows]
    measured = [each for each in measured if ALL in each.groups and each.groups[ALL].labels]
    if not measured:
        when = "in this time" if wanted.begin_ms is not None or wanted.end_ms is not None else "in any window yet"
        raise NothingServed(
            f"{name} has no label of a served answer {when}: a window closes some minutes after its labels came, and "
            "`millstream status` tells whether the monitor runs"
        )
    return _Reporting(name, log, wanted, measured).report()


@dataclass(frozen=True)
class _Measured:
    window: Window
    groups: dict[Key, Sums]


class _Reporting:
    def __init__(self, name: str, log: WatchedLog, wanted: Wanted, measured: Sequence[_Measured]) -> None:
        self._name = name
        self._log = log
        self._wanted = wanted
        self._measured = measured
        sources = measured[0].groups[ALL].totals
        self._sources = {source: BASELINES.get(source, SERVED) for source in sources}
        bigger = measures.names_of(wanted.task)
        self._bigger = bigger if wanted.metric is None else {wanted.metric: bigger[wanted.metric]}
        self._labelled: Counter[int] = Counter()
        for each in log.examples:
            self._labelled.update(labelled_in(each.served))

    def report(self) -> PerformanceReport:
        several = [each.groups[ALL] for each in self._measured]
        lines = self._lines(several)
        ends = list(itertools.accumulate(sums.labels for sums in _blocks(several)))
        first, last = self._measured[0].window, self._measured[-1].window
        begin, end = first.start, last.start + last.span
        blocks = len(coarse(ends))
        return PerformanceReport(
            on=self._name,
            rows=ends[-1],
            measured=ends[-1],
            label_delay=None,
            by=self._wanted.by,
            bigger_is_better=self._bigger,
            results=[line.result for line in lines],
            comparisons=differences([(lines[0], line) for line in lines[1:]], self._bigger),
            curves=[line.curve(ends) for line in lines],
            slices=[],
            refused=[],
            blocks=blocks,
            block_rows=round(ends[-1] / blocks),
            notes=[],
            from_ms=begin,
            to_ms=end,
            coverage=self._coverage(begin, end),
            wait_ms=self._wanted.wait_ms,
            groups=list(self._groups()),
            calibration=_calibration(several),
        )

    def _lines(self, several: Sequence[Sums]) -> list[Line]:
        """Return a line for what was served, and one for each baseline."""
        found = []
        for source, shown in self._sources.items():
            parts = measures.additive([each.totals.get(source, {}) for each in _blocks(several)])
            states = list(itertools.accumulate(parts, _plus))
            kind: Kind = "model" if shown == SERVED else "baseline"
            whole = self._values(states[-1])
            counted = int(max(states[-1].get(("decided",), 0), states[-1].get(("shared",), 0)))
            found.append(Line.make(shown, kind, None, counted, states, of=self._values, whole=whole))
        return found

    def _values(self, totals: Mapping[tuple[Any, ...], float]) -> Values:
        values = measures.values_of_additive(self._wanted.task, totals)
        return {name: values[name] for name in self._bigger}

    # --- groups ------------------------------------------------------------------------------------

    def _groups(self) -> Iterable[Group]:
        by = self._wanted.by
        if by is None:
            return []
        return self._by_window() if by == "window" else self._by_facet(by)

    def _by_facet(self, by: str) -> list[Group]:
        several: defaultdict[Key, list[Sums]] = defaultdict(list)
        for each in self._measured:
            for key, sums in each.groups.items():
                if key[0] == by or (by == "slice" and key[0].startswith(SLICE)):
                    several[key].append(sums)
        if not several:
            raise NothingServed(f"{self._name} has no windows with groups by {by}: {_WHY[by]}")
        named = [(self._named(key), sums) for key, sums in several.items()]
        groups = [self._group(value, sums) for value, sums in named]
        return sorted(groups, key=lambda each: (_ORDER.get(each.value, 0), -each.labels, each.value))

    @staticmethod
    def _named(key: Key) -> str:
        facet, value = key
        return f"{facet.removeprefix(SLICE)}: {value}" if facet.startswith(SLICE) else value

    def _group(self, value: str, several: Sequence[Sums]) -> Group:
        metrics = {line.name: line.metrics for line in self._lines(several)}
        return Group(value, sum(each.labels for each in several), metrics)

    def _by_window(self) -> list[Group]:
        span = self._span()
        several: defaultdict[int, list[Sums]] = defaultdict(list)
        for each in self._measured:
            several[each.window.start // span * span].append(each.groups[ALL])
        groups = []
        for begin, sums in sorted(several.items()):
            plain = self._group(utc(begin), sums)
            coverage = self._coverage(begin, begin + span)
            waits = begin + span + self._wanted.wait_ms > self._log.clock
            pending = waits and coverage.labelled < coverage.predictions
            groups.append(msgspec.structs.replace(plain, coverage=coverage, pending=pending))
        return groups

    def _span(self) -> int:
        """Return the length of the rows: that of the windows, unless that gives too many rows."""
        longest = max(each.window.span for each in self._measured)
        covered = self._measured[-1].window.start + longest - self._measured[0].window.start
        lengths = sorted({longest, *(each for each in (HOUR_MS, DAY_MS, 7 * DAY_MS, 30 * DAY_MS) if each > longest)})
        return next((each for each in lengths if covered / each <= _MOST_ROWS), lengths[-1])

    def _coverage(self, begin: int, end: int) -> Coverage:
        answered = sum(
            each.events - sum(count for code, count in each.errors.items() if code != UNREADABLE)
            for each in self._log.predictions
            if begin <= each.start < end
        )
        labelled = sum(count for time, count in self._labelled.items() if begin <= time < end)
        return Coverage(answered, min(labelled, answered))


_WHY: Final = {
    "slice": "add slices to the stream file, such as slices={'large': 'amount > 1000'}",
    "delay": "labels of served answers make them",
    "epoch": "labels of served answers make them",
    "decision": "labels of served answers make them",
}


def _plus(one: Totals, other: Totals) -> Totals:
    return {key: one.get(key, 0.0) + other.get(key, 0.0) for key in {**one, **other}}


def _blocks(several: Sequence[Sums]) -> list[Sums]:
    """Return the sums of at most `_MOST_BLOCKS` consecutive parts."""
    step = -(-len(several) // _MOST_BLOCKS)
    return [together(several[at : at + step]) if step > 1 else several[at] for at in range(0, len(several), step)]


def _calibration(several: Sequence[Sums]) -> list[Bin]:
    """Return the bins of the score; none if no answer has one."""
    totals = together(several).totals.get("served", {})
    found = []
    for at in range(measures.BINS):
        count, score, right = (totals.get((name, at), 0.0) for name in ("score_count", "score_sum", "score_hits"))
        found.append(Bin(int(count), score / count, right / count) if count else Bin(0, 0.0, 0.0))
    return found if any(each.count for each in found) else []
