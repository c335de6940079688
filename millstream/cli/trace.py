"""`millstream trace`: the history of one event, and its answer computed again."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import (
    HERE,
    CodePolicy,
    Json,
    StreamName,
    Where,
    at,
    filling_in,
    load_named,
    print_json,
    print_table,
)
from runtime.exits import FAILED, OK


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(trace)


def trace(
    stream: StreamName,
    event_id: Annotated[str, Parameter(name="EVENT_ID", help="Id of the event, as `millstream predictions` shows it.")],
    /,
    *,
    code: CodePolicy = "version",
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Show the history of one event: its records, the version that learned it, and its answer computed again.

    The exit code is 1 if the answer computed again differs from the original in any bit, or cannot be computed because
    its version is gone or refused.

    Example: millstream trace phishing Phishing-7-9d2c11aa
    """
    from millstream.cli.models import store_of
    from millstream.versions.trace_event import trace as follow

    settings = where.settings()
    loaded = load_named(stream, settings, code)
    names = settings.names(loaded.stream)
    with filling_in(stream):
        registry = settings.schema_registry(lambda line: print(line, file=sys.stderr))
        found = follow(loaded, settings.cluster(), names, store_of(settings), event_id, registry, code)
    if json:
        print_json(dataclasses.asdict(found))
    else:
        print_table(("step", "time", "where", "what"), list(_rows(found)))
    return OK if found.again is None or confirmed(found.again) else FAILED


def confirmed(again: dict[str, Any]) -> bool:
    """Return whether the answer computed again is the original; true if that was an error, which no version gave."""
    return bool(again["equal"]) or (again["equal"] is None and "version" not in again)


def _rows(found: Any) -> Iterator[tuple[object, ...]]:
    if found.features is not None:
        yield "features", at(found.features["timestamp"]), _where(found.features), _features(found.features)
    for each in found.predictions:
        answer = each["error"] or f"{each['prediction']} by {each['version']}"
        yield "prediction", at(each["timestamp"]), _where(each), answer
    for each in found.labels:
        yield "label", at(each["timestamp"]), _where(each), f"{each['value']} ({each['kind']}, {each['source']})"
    for each in found.examples:
        what = f"{each['label']} ({each['kind']}), lane {each['lane']} sequence {each['sequence']}"
        yield "example", at(each["timestamp"]), _where(each), what
    if found.learned is not None:
        yield "learned", at(found.learned["made"]), "model store", f"first by version {found.learned['version']}"
    for each in found.not_learned:
        yield "not learned", at(each["made"]), "model store", f"in epoch {each['epoch']}: {_reason(each)}"
    for name, other in found.models.items():
        if other["learned"] is not None:
            yield (
                "learned",
                at(other["learned"]["made"]),
                "model store",
                f"first by version {other['learned']['version']}",
            )
        for each in other["not_learned"]:
            what = f"by {name} in epoch {each['epoch']}: {_reason(each)}"
            yield "not learned", at(each["made"]), "model store", what
    if found.again is not None:
        told = {True: "equal to the last bit", False: "NOT EQUAL", None: "not computed"}[found.again["equal"]]
        if found.again.get("carried"):
            told += ", by the code that the version carries"
        why = f": {found.again['why']}" if found.again.get("why") else ""
        yield "computed again", None, found.again.get("version"), told + why


def _reason(row: dict[str, Any]) -> str:
    return row["why"] if row["how"] == "left out" else f"{row['how']}: {row['why']}"


def _where(place: dict[str, Any]) -> str:
    return f"{place['topic']}[{place['partition']}] {place['offset']}"


def _features(row: dict[str, Any]) -> str:
    if row.get("over_http"):
        return "asked over HTTP; partition and offset are those of the server's spool"
    features = row.get("features")
    return "unreadable" if features is None else f"{len(features)} features"
