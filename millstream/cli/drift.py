"""`millstream drift`: the reference against now, with what has drifted, by how much, and since when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from millstream.cli.models import store_of
from millstream.cli.progress import Bar
from millstream.cli.shared_options import (
    HERE,
    CodePolicy,
    Json,
    StreamName,
    UsageError,
    Where,
    load_named,
    moment_of,
    print_json,
    print_table,
)
from runtime.exits import FAILED, OK

if TYPE_CHECKING:
    from millstream.evaluation.text import Words


def register(parent: cyclopts.App) -> None:
    """Add the command."""
    parent.command(drift)


def drift(
    stream: StreamName,
    /,
    *,
    feature: Annotated[
        str, Parameter(help="Show this feature alone, or another value by its kind: label:value, answer:prediction.")
    ] = "",
    since: Annotated[
        str,
        Parameter(
            help="Compare what came since then: 2026-05-01T12:00, 06:00 (today), 6h (ago) [default: the newest window]."
        ),
    ] = "",
    html: Annotated[Path | None, Parameter(help="File for a page with tables and pictures.")] = None,
    fail: Annotated[bool, Parameter(negative="", help="End with exit code 1 if anything has drifted.")] = False,
    code: CodePolicy = "version",
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Compare a stream's newest windows with its reference: what has drifted, by how much, and since when.

    It judges the windows that the monitor wrote, by the same rules; nothing is written. What a fixed reference has no
    windows of is read from the log. The exit code is 0 with and without findings; with --fail it is 1 if there are any.

    Example: millstream drift fraud --feature amount --html drift.html
    """
    from millstream.evaluation.drift.collect import subject_named
    from millstream.evaluation.drift.page import write_page
    from millstream.evaluation.drift.report import DriftReport
    from millstream.evaluation.output_file import NotWritten, require_place
    from millstream.monitoring.compared import compared

    begin = moment_of(since, "--since") if since.strip() else None
    if html is not None:
        try:
            require_place("--html", html, (stream,))
        except NotWritten as error:
            raise UsageError(str(error)) from error
    settings = where.settings()
    loaded = load_named(stream, settings, code)
    with Bar("records of the reference") as bar:
        collected = compared(loaded, settings, store_of(settings), begin, bar.show)
    only = subject_named(feature, {*collected.now, *collected.reference}) if feature else None
    report = DriftReport(loaded.stream.name, collected, only)
    if html is not None:
        write_page(report, html)
    if json:
        print_json(report.to_dict())
    else:
        _print(report.words(), html)
    return FAILED if fail and any(each.until_ms is None for each in report.findings) else OK


def _print(said: Words, html: Path | None) -> None:
    """Print a report, and the file of its page."""
    for line in (said.heading, *said.verdicts):
        print(line)
    for block in said.tables:
        print_table(block.columns, block.rows, block.title)
    for line in said.remarks:
        print(line)
    if html is not None:
        print(f"wrote {html}")
