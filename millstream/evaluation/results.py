"""Results from the totals of an evaluation: values with intervals, differences, curves and slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from consumers.learner.poison_rollback import unsound
from consumers.model.metric_totals import values_of
from consumers.model.quality import BASELINES
from millstream.evaluation.evaluate import Evaluation, Named
from millstream.evaluation.findings import Kind, Refused
from millstream.evaluation.intervals import coarse
from millstream.evaluation.lines import Line, differences
from millstream.evaluation.report import Report
from millstream.evaluation.sliced import Reading, slices_of
from millstream.evaluation.trial import Trial


class _Part(NamedTuple):
    """A line, and the trial and source that it shows."""

    line: Line
    trial: Trial
    source: str


def report_of(evaluation: Evaluation, by: str | None) -> Report:
    """Return the report of an evaluation that has run."""
    parts = [part for index, _ in enumerate(evaluation.models) for part in _parts(evaluation, index)]
    lines = [part.line for part in parts]
    ends = evaluation.blocks.ends
    bigger = {type(metric).__name__: bool(metric.bigger_is_better) for metric in evaluation.metrics()}
    blocks = len(coarse(ends))
    return Report(
        on=evaluation.rows.name,
        rows=evaluation.read + evaluation.unreadable.count,
        measured=evaluation.measured,
        label_delay=None if evaluation.delay is None else evaluation.delay.text,
        by=by,
        bigger_is_better=bigger,
        results=[line.result for line in lines],
        comparisons=differences(_pairs(lines), bigger),
        curves=[line.curve(ends) for line in lines],
        slices=slices_of(
            [
                Reading(part.line.name, part.trial.sliced, part.trial.state.board.sources.index(part.source))
                for part in parts
                if part.trial.sliced is not None
            ]
        ),
        refused=_refused(evaluation),
        blocks=blocks,
        block_rows=round(evaluation.measured / blocks),
        notes=_notes(evaluation),
    )


def _parts(evaluation: Evaluation, index: int) -> list[_Part]:
    """Return the lines of one model; the first model's come with the baselines and with what was served."""
    trial, (name, stream) = evaluation.trials[index], evaluation.models[index]
    board = trial.state.board
    known, make = board.report(), evaluation.metrics

    def part(shown: str, kind: Kind, source: str) -> _Part:
        states = [state[index][board.sources.index(source)] for state in evaluation.blocks.states]
        line = Line.make(
            shown,
            kind,
            name if kind == "model" else None,
            known["counted"][source],
            states,
            of=lambda totals: values_of(make(), totals),
            whole=known[source]["all"],
        )
        return _Part(line, trial, source)

    if stream.task == "anomaly":
        return [part(name, "model", "served")]
    found = []
    if evaluation.delay is not None:
        found.append(part(f"{name}, delayed", "model", "served"))
    found.append(part(f"{name}, progressive", "model", "progressive"))
    if index == 0:
        if evaluation.delay is None and known["counted"]["served"]:
            found.append(part("served live", "live", "served"))
        found += [part(BASELINES[source], "baseline", source) for source in board.sources if source in BASELINES]
    return found


def _pairs(lines: Sequence[Line]) -> list[tuple[Line, Line]]:
    """Pair each model's main line with each baseline, with what was served, and with the first model."""
    models: dict[str, Line] = {}
    for line in lines:
        if line.model is not None:
            models.setdefault(line.model, line)
    main = list(models.values())
    others = [line for line in lines if line.model is None]
    return [(line, other) for line in main for other in ((*others, main[0]) if line is not main[0] else others)]


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
