"""Results from the totals of an evaluation: values with intervals, differences, curves and slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from consumers.learner.poison_rollback import unsound
from consumers.model.metric_totals import NOTHING, Totals, difference, values_of
from millstream.evaluation.evaluate import Evaluation, Named
from millstream.evaluation.findings import Comparison, Curve, Kind, Refused, Result, Slice
from millstream.evaluation.intervals import Estimate, LeftOut, coarse, estimate, estimate_difference
from millstream.evaluation.report import Report
from millstream.evaluation.trial import Trial

_RECENT: Final = 10  # a part of so many
_BASELINES: Final = {"last_label": "last label", "frequencies": "class frequencies", "running_mean": "running mean"}
Verdict = Literal["better", "worse", "no clear difference", "unknown"]


class _Line:
    """One result on its way into the report: its totals after each block, and its values with each block left out."""

    def __init__(self, name: str, kind: Kind, model: str | None, trial: Trial, source: str) -> None:
        self.name, self.kind, self.model = name, kind, model
        self.trial, self.source = trial, source
        self.index = trial.state.board.sources.index(source)
        self.states: list[Totals] = []
        self.left_out: LeftOut
        self.values: dict[str, Estimate] = {}

    def without_blocks(self, metric: str) -> list[float | None]:
        return [values.get(metric) for values in self.left_out.values]


def report_of(evaluation: Evaluation, by: str | None) -> Report:
    """Return the report of an evaluation that has run."""
    lines = [line for index, _ in enumerate(evaluation.models) for line in _lines(evaluation, index)]
    make = evaluation.metrics
    for line in lines:
        model = evaluation.trials.index(line.trial)
        line.states = [state[model][line.index] for state in evaluation.states]
        line.left_out = LeftOut(coarse(line.states), make)
    counted = {id(trial): trial.state.board.report() for trial in evaluation.trials}
    for line in lines:
        known = counted[id(line.trial)][line.source]["all"]
        line.values = {name: estimate(value, line.without_blocks(name)) for name, value in known.items()}
    bigger = {type(metric).__name__: bool(metric.bigger_is_better) for metric in make()}
    blocks = len(coarse([{}] * len(evaluation.ends)))
    return Report(
        on=evaluation.rows.name,
        rows=evaluation.read + evaluation.unreadable.count,
        measured=evaluation.measured,
        label_delay=None if evaluation.delay is None else evaluation.delay.text,
        by=by,
        bigger_is_better=bigger,
        results=[
            Result(line.name, line.kind, line.model, counted[id(line.trial)]["counted"][line.source], line.values)
            for line in lines
        ],
        comparisons=_comparisons(lines, bigger),
        curves=[_curve(line, evaluation.ends, make) for line in lines],
        slices=_slices(evaluation, lines),
        refused=_refused(evaluation),
        blocks=blocks,
        block_rows=round(evaluation.measured / blocks),
        notes=_notes(evaluation),
    )


def _lines(evaluation: Evaluation, index: int) -> list[_Line]:
    """Return the lines of one model; the first model's come with the baselines and with what was served."""
    trial, (name, stream) = evaluation.trials[index], evaluation.models[index]
    if stream.task == "anomaly":
        return [_Line(name, "model", name, trial, "served")]
    found = []
    if evaluation.delay is not None:
        found.append(_Line(f"{name}, delayed", "model", name, trial, "served"))
    found.append(_Line(f"{name}, progressive", "model", name, trial, "progressive"))
    if index == 0:
        served = trial.state.board.counted["served"]
        if evaluation.delay is None and served:
            found.append(_Line("served live", "live", None, trial, "served"))
        found += [
            _Line(_BASELINES[source], "baseline", None, trial, source)
            for source in trial.state.board.sources
            if source in _BASELINES
        ]
    return found


def _comparisons(lines: Sequence[_Line], bigger: dict[str, bool]) -> list[Comparison]:
    """Compare each model's main line with each baseline, with what was served, and with the first model."""
    models: dict[str, _Line] = {}
    for line in lines:
        if line.model is not None:
            models.setdefault(line.model, line)
    main = list(models.values())
    others = [line for line in lines if line.model is None]
    pairs = [(line, other) for line in main for other in ((*others, main[0]) if line is not main[0] else others)]
    found = []
    for ours, theirs in pairs:
        apart = {
            name: estimate_difference(
                ours.values[name], theirs.values[name], ours.without_blocks(name), theirs.without_blocks(name)
            )
            for name in bigger
        }
        verdicts = {name: _verdict(each, bigger[name]) for name, each in apart.items()}
        found.append(Comparison(ours.name, theirs.name, apart, verdicts))
    return found


def _verdict(apart: Estimate, bigger_is_better: bool) -> Verdict:
    if apart.low is None or apart.high is None:
        return "unknown"
    if apart.low <= 0 <= apart.high:
        return "no clear difference"
    return "better" if (apart.low > 0) == bigger_is_better else "worse"


def _curve(line: _Line, ends: Sequence[int], make: Any) -> Curve:
    back = max(1, len(ends) // _RECENT)
    whole = [values_of(make(), state) for state in line.states]
    before: list[Any] = [*[NOTHING] * back, *line.states]
    recent = [values_of(make(), difference(now, then)) for now, then in zip(line.states, before, strict=False)]
    names = list(whole[0])
    return Curve(
        line.name,
        line.kind,
        list(ends),
        {name: [values[name] for values in whole] for name in names},
        {name: [values[name] for values in recent] for name in names},
    )


def _slices(evaluation: Evaluation, lines: Sequence[_Line]) -> list[Slice]:
    first = evaluation.trials[0].slices
    made: dict[tuple[int, str, int], dict[str, float | None]] = {}
    for trial in evaluation.trials:
        for key, tallies in trial.slices.items():
            for index, each in enumerate(tallies):
                made[id(trial), key, index] = each.values()
    nothing: dict[str, float | None] = {}
    counts = {key: max(each.decided or each.shared for each in tallies) for key, tallies in first.items()}
    return [
        Slice(key, counts[key], {line.name: made.get((id(line.trial), key, line.index), nothing) for line in lines})
        for key in sorted(first, key=lambda key: -counts[key])
    ]


def _refused(evaluation: Evaluation) -> list[Refused]:
    found = []
    if evaluation.unreadable.count:
        found.append(Refused(None, evaluation.unreadable.count, evaluation.unreadable.first))
    for trial, (name, _) in zip(evaluation.trials, evaluation.models, strict=True):
        if trial.refused.count:
            found.append(Refused(name, trial.refused.count, trial.refused.first))
    return found


def _notes(evaluation: Evaluation) -> list[str]:
    remark = evaluation.rows.remark()
    notes = [] if remark is None else [remark]
    for trial, named in zip(evaluation.trials, evaluation.models, strict=True):
        notes += _notes_of(evaluation, trial, named)
    return notes


def _notes_of(evaluation: Evaluation, trial: Trial, named: Named) -> list[str]:
    name, stream = named
    notes = []
    if trial.unlabelled and stream.learn_from == "labels":
        notes.append(f"{name}: {trial.unlabelled:,} rows have no label and were not learned")
    if trial.on_timeout:
        notes.append(
            f"{name}: {trial.on_timeout:,} rows without a label were learned as {stream.labels.on_timeout!r} "
            "(on_timeout), here after the label delay, live after Labels(wait=…)"
        )
    if evaluation.delay is not None and evaluation.delay.ms > stream.labels.wait_ms:
        notes.append(
            f"{name}: labels come after {evaluation.delay.text}, and a live stream waits only for "
            f"Labels(wait={stream.labels.wait!r}): it would learn none of them"
        )
    if stream.learn_from == "events" and evaluation.rows.unit == "offset":
        notes.append(f"{name}: on a log the model is asked when a label comes, after it has learned the event")
    if (reason := unsound(trial.state)) is not None:
        notes.append(
            f"{name}: {reason}. A learner looks for the example that did it and leaves that out; here the answers that "
            "are not finite are not counted"
        )
    return notes
