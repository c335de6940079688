"""`millstream models evaluate`: any versions on any range of the log."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli.models import app, store_of
from millstream.cli.progress import Bar
from millstream.cli.range_options import ALL, Range
from millstream.cli.shared_options import (
    HERE,
    CodePolicy,
    Json,
    StreamName,
    UsageError,
    Where,
    cell,
    filling_in,
    load_named,
    print_json,
    print_table,
)
from millstream.cli.version_choice import version_meant

if TYPE_CHECKING:
    from millstream.evaluation.intervals import Estimate
    from millstream.training.evaluating import Line, VersionsReport


@app.command
def evaluate(
    stream: StreamName,
    versions: Annotated[
        tuple[str, ...],
        Parameter(
            name="VERSION",
            help="Versions, EPOCH/EXAMPLES or MODEL:EPOCH/EXAMPLES, or MODEL for its newest [default: each model's "
            "newest].",
        ),
    ] = (),
    /,
    *,
    range_: Range = ALL,
    by: Annotated[str | None, Parameter(help="Also by a slice of the stream file, or by a feature.")] = None,
    png: Annotated[Path | None, Parameter(help="File for a picture of the losses; needs the extra `plot`.")] = None,
    code: CodePolicy = "version",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Evaluate any versions on a range of the examples log, beside what was served, with intervals.

    A label counts with its last correction. A version that has learned some of the examples is marked as seen and not
    ranked, because it knows their labels.

    Example: millstream models evaluate fraud.py gbdt:4/81200 1/90000 --from 2d --by country
    """
    from millstream.evaluation.output_file import NotWritten, require_place, write_whole
    from millstream.training.evaluating import draw, evaluate_versions
    from millstream.version_code.choice import VersionCode
    from model_store import NotFound

    if png is not None:
        from millstream.evaluation.chart import require_library

        try:
            require_place("--png", png, (stream,))
        except NotWritten as error:
            raise UsageError(str(error)) from error
        require_library()
    settings = where.settings()
    loaded = load_named(stream, settings, code)
    names, store = settings.names(loaded.stream), store_of(settings)
    wanted = [version_meant(store, names, each) for each in versions]
    if not versions:
        models = [each.model_id for each in loaded.each_model]
        wanted = [there[-1] for model in models if (there := store.versions(model))]
    if not wanted:
        raise NotFound(f"there are no versions of {names.stream}: the learner writes the first")
    chosen = VersionCode(loaded, store, code, lambda line: print(line, file=sys.stderr))
    edges = range_.edges()
    with filling_in(stream), Bar("offsets") as bar:
        report = evaluate_versions(chosen, settings.cluster(), names, wanted, edges, by, bar.show)
    if json:
        print_json(report)
    else:
        _print(report)
    if png is not None:
        write_whole(png, draw(report))
        if not json:
            print(f"wrote {png}")


def _print(report: VersionsReport) -> None:
    print(f"{report.topic}, offsets {report.begin:,} to {report.end:,}; loss: {report.by}")
    metrics = list(dict.fromkeys(name for line in report.lines for name in line.metrics))
    print_table(
        ("rank", "version", "events", "seen", "loss", "95 %", "behind the first", *metrics),
        [_row(line, metrics) for line in report.lines],
        spare=tuple(reversed(metrics)),
    )
    if report.slices:
        print_table(
            ("slice", "events", *(line.version for line in report.lines)),
            [
                (name, count, *(_interval(line.slices.get(name)) for line in report.lines))
                for name, count in report.slices.items()
            ],
        )
    for reason, count in report.left_out.items():
        print(f"left out: {count:,} ({reason})")
    if any(line.seen for line in report.lines):
        print("seen: the version has learned so many of these examples, so it is not ranked")


def _row(line: Line, metrics: list[str]) -> tuple[object, ...]:
    loss = line.loss
    between = None if loss.low is None or loss.high is None else f"{loss.low:.4g} to {loss.high:.4g}"
    values = [line.metrics.get(name) for name in metrics]
    return (
        line.rank,
        line.version,
        line.events,
        line.seen or None,
        loss.value,
        between,
        _interval(line.behind),
        *values,
    )


def _interval(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return ""
    if found.low is None or found.high is None:
        return cell(found.value)
    return f"{found.value:.4g} ({found.low:.4g} to {found.high:.4g})"
