"""`millstream performance`: how good the served answers were, from the monitor's windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

from millstream.cli.progress import Bar
from millstream.cli.report_output import NO_FILES, ReportFiles, show
from millstream.cli.shared_options import (
    HERE,
    CodePolicy,
    Json,
    StreamName,
    UsageError,
    Where,
    filling_in,
    load_named,
    moment_of,
)

_By = Literal["window", "slice", "delay", "epoch", "decision"]


@Parameter(name="*", group="Range")
@dataclass(frozen=True)
class LabelsIn:
    """Range of the broker's times at which labels came: 2026-05-01T12:00, 06:00 (today) or 6h (ago)."""

    from_: Annotated[str, Parameter(name="--from")] = ""
    """Only labels of windows from this time on: 2026-05-01T12:00, 06:00 (today), 6h (ago) [default: all]."""

    to: str = ""
    """Only labels of windows before this time [default: now]."""

    def period(self) -> tuple[int | None, int | None]:
        """Return begin and end in ms. Raises UsageError if a time is invalid or the period is empty."""
        begin = moment_of(self.from_, "--from") if self.from_.strip() else None
        end = moment_of(self.to, "--to") if self.to.strip() else None
        if begin is not None and end is not None and begin >= end:
            raise UsageError(f"--from {self.from_} is not before --to {self.to}")
        return begin, end


WHOLE = LabelsIn()


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(performance)


def performance(
    stream: StreamName,
    /,
    *,
    by: Annotated[
        _By | None,
        Parameter(
            help="Also by window of time, by the slices of the stream file, by the delay of the label, by the model "
            "and epoch that answered, or by the decision that made it serve."
        ),
    ] = None,
    metric: Annotated[str | None, Parameter(help="Show only this metric, such as f1 [default: all].")] = None,
    range_: LabelsIn = WHOLE,
    files: ReportFiles = NO_FILES,
    code: CodePolicy = "version",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show how good the served answers were: metrics with intervals, beside both baselines, and the labelled share.

    It reads the windows that the monitor writes: a label counts in the window in which it came. Answers that were
    refused or came from uploads do not count, and corrections do not change what was counted. Old windows are merged
    into hours and days.

    Example: millstream performance fraud --by slice --from 7d --html performance.html
    """
    begin, end = range_.period()
    outputs = files.outputs(stream)
    settings = where.settings()
    from consumers.monitor.served.measures import names_of
    from millstream.evaluation.performance.performance import Wanted
    from millstream.evaluation.performance.performance import performance as measured
    from millstream.evaluation.performance.windows import WatchedLog, read_windows

    loaded = load_named(stream, settings, code)
    task = loaded.stream.task
    if metric is not None and metric not in names_of(task):
        raise UsageError(f"--metric {metric}: metrics of a {task} stream are {', '.join(names_of(task))}")
    wanted = Wanted(task, loaded.stream.labels.wait_ms, by, begin, end, metric)
    with filling_in(stream), Bar("windows") as bar:
        windows = read_windows(settings.cluster(), settings.names(loaded.stream), bar.show)
    show(measured(loaded.stream.name, WatchedLog(windows), wanted), outputs, as_json=json)
