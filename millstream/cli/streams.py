"""`millstream init`, `check` and `schema`: a stream file begun and tried, and what its events look like to others."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

from millstream.cli.common import Json, StreamName, UsageError, print_json


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(init)
    parent.command(check)
    parent.command(schema)


def init(
    name: Annotated[str, Parameter(name="NAME", help="The stream's name: a-z, 0-9 and '-'.")],
    /,
    *,
    from_: Annotated[
        str | None,
        Parameter(name="--from", help="A .csv, .jsonl or .avro file (also .gz), or river:NAME, to infer from."),
    ] = None,
    label: Annotated[str | None, Parameter(help="The label's column there [default: guessed].")] = None,
    id: Annotated[str | None, Parameter(help="The column there that names an event [default: guessed].")] = None,  # noqa: A002
    time: Annotated[str | None, Parameter(help="The column there with an event's time [default: guessed].")] = None,
    json: Json = False,
) -> None:
    """Write NAME.py here: a stream file to start from, its contract inferred from a file where one is named.

    Example: millstream init clicks --from clicks.csv
    """
    from millstream.init import init as write
    from producers.infer import infer

    if from_ is None and (label or id or time):
        raise UsageError("--label, --id and --time name columns of the file that --from names")
    inferred = None if from_ is None else infer(from_, label=label, id=id, time=time)
    path = write(name, Path(), inferred, from_)
    if json:
        print_json({"stream": name, "path": str(path)})
        return
    print(f"wrote {path}; read it, then: millstream check {path}")


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


def schema(
    kind: Annotated[Literal["Event", "Label", "Prediction"], Parameter(name="KIND", help="Which schema.")],
    /,
) -> None:
    """Print the Avro schema of events, labels or predictions, complete in itself, for another service's Avro library.

    Example: millstream schema Prediction > prediction.avsc
    """
    from schemas.codec import full_schema

    print_json(full_schema(kind))
