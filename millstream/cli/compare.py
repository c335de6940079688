"""`millstream models compare`: a stream's models side by side on the same labelled events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from millstream.cli.models import app, store_of
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

if TYPE_CHECKING:
    from millstream.evaluation.compare.log import Period


@Parameter(name="*", group="Range")
@dataclass(frozen=True)
class PredictedIn:
    """Range of the broker's times of predictions: 2026-05-01T12:00, 06:00 (today) or 6h (ago)."""

    from_: Annotated[str, Parameter(name="--from")] = ""
    """Compare events predicted at this time or later: 2026-05-01T12:00, 06:00 (today), 6h (ago) [default: all]."""

    to: str = ""
    """Compare events predicted before this time [default: now]."""

    def period(self) -> Period:
        """Return the period. Raises UsageError if a time is invalid or the period is empty."""
        from millstream.evaluation.compare.log import Period

        begin = moment_of(self.from_, "--from") if self.from_.strip() else None
        end = moment_of(self.to, "--to") if self.to.strip() else None
        if begin is not None and end is not None and begin >= end:
            raise UsageError(f"--from {self.from_} is not before --to {self.to}")
        return Period(begin, end)


WHOLE = PredictedIn()


@app.command
def compare(
    stream: StreamName,
    names: Annotated[
        tuple[str, ...],
        Parameter(name="NAME", help="Models to compare with the serving one, main is the stream's own [default: all]."),
    ] = (),
    /,
    *,
    range_: PredictedIn = WHOLE,
    by: Annotated[
        Literal["slice", "delay", "hour"] | None,
        Parameter(
            help="Also by the slices of the stream file, the delay of the label, or the hour of the prediction (UTC)."
        ),
    ] = None,
    files: ReportFiles = NO_FILES,
    code: CodePolicy = "version",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Compare a stream's models on the same labelled events, beside the baselines, with intervals.

    Each model is measured by what it answered, served or in the shadow, on the events that all of them were asked.
    A label counts with its last correction, and an event without an answer costs the most that the loss can be.
    Before there are shadow answers with labels, it shows the learners' progressive metrics, and says so.

    Example: millstream models compare fraud --by slice --html compare.html
    """
    period = range_.period()
    outputs = files.outputs(stream)
    settings = where.settings()
    from millstream.evaluation.compare.compare import CannotCompare, Comparing

    loaded = load_named(stream, settings, code)
    comparing = Comparing(loaded, names, period, by)
    cluster = settings.cluster()
    with filling_in(stream), Bar("comparisons") as bar:
        report = comparing.run(cluster, settings.names(loaded.stream), store_of(settings), bar.show)
    drawn = {form: path for form, path in outputs.items() if form != "png" or report.curves}
    show(report, drawn, as_json=json)
    if len(drawn) < len(outputs):
        raise CannotCompare(f"--png {files.png}: there is nothing to draw before there are labelled shadow answers")
