"""`millstream jobs`: shows a stream's trainings, and cancels them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import cyclopts
import msgspec
from cyclopts import Parameter

from millstream.cli.models import Why
from millstream.cli.shared_options import (
    HERE,
    Json,
    StreamName,
    UsageError,
    Where,
    at,
    filling_in,
    full_names,
    print_fields,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

app = cyclopts.App(name="jobs", help="Show the jobs that train a stream's batch models, and cancel them.")

_Named = Annotated[str, Parameter(name="JOB", help="Id of a job.")]
_Newest = Annotated[str | None, Parameter(name="JOB", help="Id of a job [default: the newest].")]
_LONGEST_CELL: Final = 60
_CUT: Final = {"why": 16, "how it stands": 20}


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)


@app.command(name="list")
def list_(
    stream: StreamName,
    /,
    *,
    limit: Annotated[int, Parameter(help="Show so many, the newest ones.")] = 20,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """List the newest jobs, newest first.

    With --json: one line for each job.

    Example: millstream jobs list my_stream.py
    """
    from millstream.reading.jobs import job_rows, read_states

    if limit < 1:
        raise UsageError(f"--limit {limit} must be at least 1")
    cluster, names = _at(stream, where)
    with filling_in(stream):
        rows = job_rows(read_states(cluster, names))[:limit]
    if json:
        for row in rows:
            print_json(row)
    elif rows:
        columns = ("asked", "job", "model", "state", "attempts", "by", "why", "how it stands")
        print_table(columns, [_cells(row) for row in rows], cut=_CUT)
    else:
        print(f"{names.stream} has no jobs; `millstream train {stream} NAME` asks for one")


@app.command
def show(stream: StreamName, job: _Newest = None, /, *, where: Where = HERE, json: Json = False) -> None:
    """Show a job: its state, its attempts, the table of its search, its result, and why it was promoted or not.

    Example: millstream jobs show my_stream.py
    """
    row = _whole(stream, job, where)
    if json:
        print_json(row)
        return
    print_fields(_fields(row))
    result = row["result"] or {}
    table = result.get("table") or []
    if isinstance(table, list) and table:
        columns = list(dict.fromkeys(name for each in table for name in each))
        cells = [[_short(each.get(name)) for name in columns] for each in table]
        print_table(columns, cells, title="search")
    comparison = result.get("comparison")
    if isinstance(comparison, dict):
        _print_comparison(comparison)


@app.command
def cancel(stream: StreamName, job: _Named, /, *, why: Why = "", where: Where = HERE, json: Json = False) -> None:
    """Cancel a job that has not ended: its trainer ends the training.

    Example: millstream jobs cancel my_stream.py gbdt.2026-05-01T02:00:00Z --why "the labels were wrong"
    """
    from millstream.versions import job_requests
    from millstream.versions.decisions import who

    cluster, names = _at(stream, where)
    with filling_in(stream):
        wish = job_requests.cancel(cluster, names, job, by=who(), why=why)
    if json:
        print_json({"stream": names.stream, **msgspec.structs.asdict(wish)})
    else:
        print(f"job {job} is to be cancelled; `millstream jobs show {stream} {job}` says when it is")


@app.command
def log(stream: StreamName, job: _Newest = None, /, *, where: Where = HERE, json: Json = False) -> None:
    """Print what has become of a job, record by record.

    With --json: one line for each record.

    Example: millstream jobs log my_stream.py
    """
    row = _whole(stream, job, where)
    for each in row["records"]:
        if json:
            print_json({"id": row["id"], **each})
        else:
            attempt = f" {each['attempt']}" if each["attempt"] else ""
            print(f"{at(each['at'])}  {each['state']}{attempt} by {each['by']}{_said(each)}")


def _at(stream: str, where: Where) -> tuple[Cluster, Names]:
    settings = where.settings()
    cluster = settings.cluster()
    return cluster, full_names(stream, settings, cluster)


def _whole(stream: str, job: str | None, where: Where) -> dict[str, Any]:
    from millstream.reading.jobs import whole_job

    cluster, names = _at(stream, where)
    with filling_in(stream):
        return whole_job(cluster, names, job)


def stands(row: dict[str, Any]) -> str | None:
    """Return how a job stands, in a few words."""
    if row["state"] == "done":
        return f"{row['version']}: {row['deployed']}"
    if row["cancel"]:
        return "is to be cancelled"
    step = row["progress"]
    if step is not None:
        return f"{step['done']} of {step['of']} {step['text']}" if step["of"] else step["text"]
    reason: str | None = row["reason"]
    return reason


def _cells(row: dict[str, Any]) -> list[object]:
    asked = at(row["asked_at"])
    return [
        asked[:19] if asked else None,
        row["id"],
        row["model"],
        row["state"],
        row["attempts"],
        row["by"],
        row["why"],
        stands(row),
    ]


def _fields(row: dict[str, Any]) -> dict[str, object]:
    result, claim = row["result"] or {}, row["claim"]
    fields: dict[str, object] = {
        "job": row["id"],
        "model": row["model"],
        "state": row["state"],
        "asked": f"{at(row['asked_at'])} by {row['by']}" + (f": {row['why']}" if row["why"] else ""),
        "attempts": row["attempts"],
        "last record": f"{at(row['at'])} by {row['process'] or row['by']}",
        "how it stands": stands(row),
    }
    if claim is not None:
        fields["trained on"] = f"offsets {claim['begin']} to {claim['end']} of the examples log"
        fields["epoch"] = claim["epoch"]
    if row["version"]:
        fields["version"] = row["version"]
        fields["why"] = row["reason"]
    comparison = result.get("comparison")
    if isinstance(comparison, dict):
        fields["compared on"] = compared_on(comparison)
    for name in ("examples", "parameters", "left_out", "notes"):
        value = result.get(name)
        if value:
            fields[name.replace("_", " ")] = _pairs(value)
    return fields


def compared_on(comparison: dict[str, Any]) -> str | None:
    """Return how many of the newest examples count as served, how many were asked now, and how many not at all."""
    compared, now, seen = comparison.get("compared"), comparison.get("asked_now") or 0, comparison.get("seen") or 0
    parts = []
    if isinstance(compared, dict):
        parts.append(f"{compared.get('events', 0) - now:,} events as served")
    if now:
        parts.append(f"{now:,} without a served answer, about which {comparison.get('asked')} is asked now")
    if seen:
        parts.append(f"not on {seen:,} that {comparison.get('asked')} has learned or cannot be asked about")
    return ", ".join([*parts, *filter(None, [comparison.get("not_asked")])]) or None


def _pairs(value: Any) -> object:
    return [f"{name} = {each}" for name, each in value.items()] if isinstance(value, dict) else value


def _print_comparison(comparison: dict[str, Any]) -> None:
    """Print the loss of the new model beside that of what served: as a whole, and by slice."""
    rows = []
    for part in (comparison.get("compared") or comparison.get("tested"), *(comparison.get("slices") or ())):
        if isinstance(part, dict):
            gain = part.get("gain") or {}
            rows.append(
                [
                    part.get("slice"),
                    part.get("events"),
                    (part.get("loss") or {}).get("value"),
                    (part.get("served_loss") or {}).get("value"),
                    gain.get("value"),
                    gain.get("low"),
                    gain.get("high"),
                ]
            )
    if rows:
        columns = ("slice", "events", "loss", "served", "better by", "from", "to")
        print_table(columns, rows, title=f"on the newest events, by {comparison.get('by', 'loss')}")


def _short(value: object) -> object:
    if not isinstance(value, (dict, list)):
        return value
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"


def _said(record: dict[str, Any]) -> str:
    """Return what a record's detail says, in a line."""
    detail = record["detail"]
    if record["state"] == "running":
        return f": offsets {detail.get('begin')} to {detail.get('end')}, epoch {detail.get('epoch')}"
    if record["state"] == "progress":
        done = f" {detail.get('done')} of {detail['of']}" if detail.get("of") else ""
        return f":{done} {detail.get('text', '')}"
    if record["state"] == "done":
        return f": {detail.get('version')}, {detail.get('deployed')}"
    return f": {detail['why']}" if detail.get("why") else ""
