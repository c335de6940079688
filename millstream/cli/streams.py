"""`millstream init` and `check`: a stream file, begun and tried."""

from __future__ import annotations

import dataclasses

import cyclopts

from millstream.cli.common import Json, StreamName, print_json


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(check)


def check(stream: StreamName, /, *, json: Json = False) -> int:
    """Try a stream's model out: does it build, learn, save and load, and answer the same each time?

    Names lambdas that cannot be pickled, parts without a seed, and more. The exit code is 1 where the
    stream must not run like this. `millstream run` does it first.

    Example: millstream check my_stream.py
    """
    from millstream.check import check as examine
    from millstream.load import load_stream

    report = examine(load_stream(stream))
    if json:
        print_json({**dataclasses.asdict(report), "ok": not report.errors})
        return int(bool(report.errors))
    for finding in report.findings:
        print(f"{finding.severity:<8} {finding.about}: {finding.text}")
    print(f"{report.stream}: {'must not run like this' if report.errors else 'fit to run'}", end="")
    print(f", tried on {report.events} {report.origin}")
    return int(bool(report.errors))
