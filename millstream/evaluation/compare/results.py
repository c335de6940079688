"""Results of one pass along the log: intervals, pairs, quick and slow labels, ages, windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from consumers.model.metric_totals import NOTHING, Totals, difference, values_of
from consumers.model.quality import BASELINES
from consumers.referee.confidence import Boundary, Differences
from millstream.evaluation.compare.facets import AGES_MS, By
from millstream.evaluation.compare.log import Predicted
from millstream.evaluation.compare.measure import SERVED, Contender, Pass
from millstream.evaluation.compare.report import LOSS, LabelAge, LossUsed, ModelComparison, Pair, SlicedPairs
from millstream.evaluation.findings import Kind, Refused, Slice
from millstream.evaluation.intervals import Estimate, Values, coarse, estimate
from millstream.evaluation.lines import Line, differences, verdict
from millstream.evaluation.sliced import Reading, slices_of
from schemas.duration_text import spoken

_WINDOWS: Final = 5
_FEW_LABELS: Final = 0.5
_SMALL_PART: Final = 0.5
_LOSS_COUNT, _LOSS_SUM = ("loss count",), ("loss sum",)
Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Results:
    """The results of one pass."""

    def __init__(self, found: Pass, predicted: Predicted, by: By | None) -> None:
        self._found = found
        self._predicted = predicted
        self._by = by
        self._ends = coarse(found.blocks.ends)
        self._block = np.searchsorted(np.array(self._ends), np.arange(found.measured), side="right")
        self._losses: dict[str, Numbers] = {}
        if found.loss is not None:
            self._losses = {name: np.array(each.losses) for name, each in found.contenders.items()}
            self._losses |= {name: np.array(each) for name, each in found.baseline_losses.items()}
        self._all: Mask = np.ones(found.measured, dtype=bool)
        delays = np.array(found.delays)
        self._median = int(np.sort(delays)[(len(delays) - 1) // 2])
        self._quick: Mask = delays <= self._median

    def report(self, name: str) -> ModelComparison:
        """Return the report; `name` is that of the topic."""
        found = self._found
        served = {each: count for each, count in found.counts.asked.most_common() if count}
        champion = found.newest[1]
        named = self._lines(mixed=len(served) > 1)
        lines = list(named.values())
        bigger = self._bigger()
        against = named.get(champion, lines[0])
        challengers = [line for line in lines if line.kind == "model" and line is not against]
        rule = found.settings.rule
        boundary = None if rule is None else rule.boundary(len(challengers))
        pairs = [] if boundary is None else [self._pair(line.name, against.name, boundary) for line in challengers]
        slow = int((~self._quick).sum())
        refusals = found.refused
        return ModelComparison(
            on=name,
            rows=found.measured + found.counts.missing.total() + refusals.count,
            measured=found.measured,
            label_delay=None,
            by=self._by,
            bigger_is_better=bigger,
            results=[line.result for line in lines],
            comparisons=differences([(line, against) for line in challengers], bigger),
            curves=[line.curve(found.blocks.ends) for line in lines],
            slices=self._slices(lines),
            refused=[Refused(None, refusals.count, refusals.first)] if refusals.count else [],
            blocks=len(self._ends),
            block_rows=round(found.measured / len(self._ends)),
            notes=self._notes(),
            champion=champion,
            loss=None
            if rule is None
            else LossUsed(rule.loss.kind, rule.loss.bound, rule.alpha / max(1, len(challengers))),
            served=served,
            left_out={", ".join(names): count for names, count in found.counts.missing.most_common()},
            predicted_from_ms=min(found.predicted),
            predicted_to_ms=max(found.predicted),
            pairs=pairs,
            quick_within_ms=self._median if slow else None,
            quick_counted=found.measured - slow,
            slow_counted=slow,
            windows=self._windows(lines),
            sliced_pairs=self._sliced_pairs(pairs),
            label_ages=(ages := self._ages()),
            age_ms={each.name: median(each.ages) for each in found.contenders.values() if each.name and each.ages},
            warnings=list(_warnings(pairs, ages)),
        )

    # --- lines ---------------------------------------------------------------------------------------

    def _lines(self, *, mixed: bool) -> dict[str, Line]:
        """Return a line for each model, for what was served if several models served, and for each baseline."""
        found = self._found
        lines = {}
        for name, contender in found.contenders.items():
            if name != SERVED:
                lines[name] = self._line(name, "model", contender, "served", name)
        if mixed:
            lines[SERVED] = self._line("as served", "live", found.contenders[SERVED], "served", SERVED)
        first = found.contenders[found.settings.models[0]]
        for source in found.baselines:
            lines[source] = self._line(BASELINES[source], "baseline", first, source, source)
        return lines

    def _line(self, name: str, kind: Kind, contender: Contender, source: str, key: str) -> Line:
        found = self._found
        known = contender.board.report()
        states = [state[key] for state in found.blocks.states]
        whole: Values = known[source]["all"]
        if key in self._losses:
            states = with_losses(states, found.blocks.ends, self._losses[key])
            whole = {LOSS: mean_loss(states[-1])} | whole
        counted = known["counted"][source]
        return Line.make(
            name, kind, name if kind == "model" else None, counted, states, of=self._values_of, whole=whole
        )

    def _values_of(self, totals: Mapping[tuple[Any, ...], float]) -> Values:
        values = values_of(self._found.settings.metrics(), totals)
        return {LOSS: mean_loss(totals)} | values if self._losses else values

    def _bigger(self) -> dict[str, bool]:
        bigger = {type(metric).__name__: bool(metric.bigger_is_better) for metric in self._found.settings.metrics()}
        return {LOSS: False} | bigger if self._losses else bigger

    # --- parts of the events -------------------------------------------------------------------------

    def _apart(self, of: str, than: str, chosen: Mask) -> Estimate:
        """Return the mean difference of two losses over some events, with its interval."""
        apart = self._losses[of] - self._losses[than]
        blocks = len(self._ends)
        counts = np.bincount(self._block[chosen], minlength=blocks)
        sums = np.bincount(self._block[chosen], weights=apart[chosen], minlength=blocks)
        if not counts.sum():
            return Estimate(None)
        there = counts > 0
        count, total = int(counts.sum()), float(sums.sum())
        left = [
            (total - each) / (count - number) if count > number else None
            for each, number in zip(sums[there].tolist(), counts[there].tolist(), strict=True)
        ]
        return estimate(total / count, left)

    def _pair(self, of: str, than: str, boundary: Boundary) -> Pair:
        loss = self._apart(of, than, self._all)
        quick, slow = self._apart(of, than, self._quick), self._apart(of, than, ~self._quick)
        return Pair(
            of, than, loss, self._at_any_time(of, than, boundary), quick, slow, _rests_on_quick(loss, quick, slow)
        )

    def _at_any_time(self, of: str, than: str, boundary: Boundary) -> Estimate:
        """Return the mean difference with the bounds of the rule, in the order of the predictions, as it counts."""
        partitions, offsets = np.array(self._found.places).reshape(-1, 2).T
        order = np.lexsort((offsets, partitions, np.array(self._found.predicted)))
        sums = Differences()
        for apart in (self._losses[of] - self._losses[than])[order]:
            sums.add(float(apart))
        low, high = sums.bounds(boundary)
        return Estimate(sums.mean, low, high)

    def _sliced_pairs(self, pairs: Iterable[Pair]) -> list[SlicedPairs]:
        found = []
        for keys in self._found.keys.values():
            several = np.array(["" if key is None else key for key in keys])
            for key in self._ordered(Counter(key for key in keys if key is not None)):
                chosen = several == key
                losses = {each.of: self._apart(each.of, each.than, chosen) for each in pairs}
                found.append(SlicedPairs(key, int(chosen.sum()), losses))
        return found if pairs else []

    def _slices(self, lines: Sequence[Line]) -> list[Slice]:
        """Return the metrics by slice, and the loss."""
        found = []
        for facet, keys in self._found.keys.items():
            counts = Counter(key for key in keys if key is not None)
            several = np.array(["" if key is None else key for key in keys])
            metrics = {each.value: each.metrics for each in slices_of(self._readings(lines, facet))}
            for key in self._ordered(counts):
                chosen = several == key
                values = {name: self._with_loss(name, each, chosen) for name, each in metrics[key].items()}
                found.append(Slice(key, counts[key], values))
        return found

    def _readings(self, lines: Sequence[Line], facet: str) -> list[Reading]:
        found = []
        for line in lines:
            key = self._key(line.name)
            contender = self._found.contenders.get(key) or self._found.contenders[self._found.settings.models[0]]
            source = key if key in self._found.baselines else "served"
            found.append(Reading(line.name, contender.sliced[facet], contender.board.sources.index(source)))
        return found

    def _key(self, shown: str) -> str:
        """Return the name of a line's losses."""
        baselines = {BASELINES[source]: source for source in self._found.baselines}
        return shown if shown in self._found.settings.models else baselines.get(shown, SERVED)

    def _with_loss(self, shown: str, values: dict[str, float | None], chosen: Mask) -> dict[str, float | None]:
        if not self._losses:
            return values
        losses = self._losses[self._key(shown)][chosen]
        losses = losses[~np.isnan(losses)]
        return {LOSS: float(losses.mean()) if len(losses) else None} | values

    def _ordered(self, counts: Counter[str]) -> list[str]:
        order = {key: place for facet in self._found.settings.facets for place, key in enumerate(facet.order)}
        return sorted(counts, key=lambda key: (order.get(key, 0), -counts[key], key))

    def _windows(self, lines: Sequence[Line]) -> list[Slice]:
        """Return the metrics over consecutive parts of the events."""
        ends = self._found.blocks.ends
        step = -(-len(ends) // _WINDOWS)
        places = [*range(step - 1, len(ends) - 1, step), len(ends) - 1]
        found, before = [], -1
        for place in places:
            begin = 0 if before < 0 else ends[before]
            values = {
                line.name: line.values_of(
                    difference(line.states[place], NOTHING if before < 0 else line.states[before])
                )
                for line in lines
            }
            found.append(Slice(f"{begin + 1:,} to {ends[place]:,}", ends[place] - begin, values))
            before = place
        return found

    # --- labels --------------------------------------------------------------------------------------

    def _ages(self) -> list[LabelAge]:
        """Return how many of the shadowed events had a label by each age, of those that are so old."""
        times = np.array(self._predicted.times)
        times = times[times >= self._predicted.complete_from]
        if not len(times):
            return []
        wait = self._found.settings.wait_ms
        labelled = np.array(self._found.label_ages).reshape(-1, 2)
        labelled = labelled[labelled[:, 0] >= self._predicted.complete_from]
        clock = max(self._found.clock, int(times.max()))
        ages = []
        for age in (*(each for each in AGES_MS if each < wait), wait):
            events = int((times <= clock - age).sum())
            if events:
                came = (labelled[:, 0] <= clock - age) & (labelled[:, 1] <= age)
                ages.append(LabelAge(age, events, int(came.sum())))
        return ages

    def _notes(self) -> list[str]:
        notes = []
        if self._found.counts.unlabelled:
            notes.append(f"{self._found.counts.unlabelled:,} comparisons have no label and are left out")
        corrected = len(self._found.corrected)
        if corrected:
            notes.append(f"{corrected:,} events count with their corrected label")
        if self._found.loss is not None and self._found.loss.failed:
            notes.append(f"the loss function failed {self._found.loss.failed:,} times; each cost the bound")
        return notes


def _rests_on_quick(loss: Estimate, quick: Estimate, slow: Estimate) -> bool:
    means = verdict(loss, False)
    if means not in ("better", "worse") or quick.value is None or slow.value is None or verdict(slow, False) == means:
        return False
    # With half of the events an interval is wider, so that "unclear" alone says little.
    return slow.value * quick.value <= _SMALL_PART * quick.value**2


def _warnings(pairs: Iterable[Pair], ages: Sequence[LabelAge]) -> Iterable[str]:
    for each in pairs:
        if each.rests_on_quick:
            word = verdict(each.loss, False)
            yield (
                f"{each.of} is {word} than {each.than} on quick labels only, not on slow ones: decide when the slow "
                "labels count, too (Promote(settle=…) waits for them)"
            )
    if ages and ages[-1].labelled < _FEW_LABELS * ages[-1].events:
        share = 100 * ages[-1].labelled / ages[-1].events
        yield (
            f"only {share:.0f} % of the events had a label by the age of {spoken(ages[-1].age_ms)}: events with labels "
            "may differ from the others"
        )


def with_losses(states: Sequence[Totals], ends: Sequence[int], losses: Numbers) -> list[Totals]:
    """Return totals at the blocks' ends with the sums of losses; a loss of NaN is none."""
    known = ~np.isnan(losses)
    counts = np.cumsum(known)
    sums = np.cumsum(np.where(known, losses, 0.0))
    return [
        {**state, _LOSS_COUNT: float(counts[end - 1]), _LOSS_SUM: float(sums[end - 1])}
        for state, end in zip(states, ends, strict=True)
    ]


def mean_loss(totals: Mapping[tuple[Any, ...], float]) -> float | None:
    """Return the mean of the losses in totals, `None` without any."""
    count = totals.get(_LOSS_COUNT, 0.0)
    return totals.get(_LOSS_SUM, 0.0) / count if count else None
