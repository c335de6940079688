"""`millstream alerts`: shows a stream's alerts; acknowledges and silences them; tries the targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import cyclopts
import msgspec
from cyclopts import Parameter

from millstream.cli.models import Why
from millstream.cli.read_topics import Columns, Follow, Last, Limit, show
from millstream.cli.shared_options import (
    HERE,
    Json,
    StreamFileName,
    StreamName,
    UsageError,
    Where,
    at,
    filling_in,
    full_names,
    load_file,
    print_json,
    print_table,
)
from runtime.exits import FAILED, OK

if TYPE_CHECKING:
    from schemas.alerts import AlertDecision, AlertNote

app = cyclopts.App(name="alerts")

AlertName = Annotated[str, Parameter(name="NAME", help="Name of an alert, such as monitor.drift.")]


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)


@app.default
def alerts(
    stream: StreamName,
    /,
    *,
    open_: Annotated[
        bool,
        Parameter(
            name="--open", negative="", help="Show only what is raised now, with who has acknowledged or silenced it."
        ),
    ] = False,
    follow: Follow = False,
    limit: Limit = None,
    last: Last = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show the alerts that are raised now, and what was raised, cleared and decided lately.

    With --json: one line for each record; with --open, one for each alert that is raised now.

    Example: millstream alerts phishing --open
    """
    from millstream.alerting.open_alerts import open_rows, read_states

    if open_ and (follow or limit is not None or last is not None):
        raise UsageError("--open shows all that is raised now: leave out --follow, --limit and --last")
    if open_ or not (json or follow or limit is not None or last is not None):
        settings = where.settings()
        cluster = settings.cluster()
        names = full_names(stream, settings, cluster)
        with filling_in(stream):
            rows = open_rows(read_states(cluster, names))
        if json:
            for row in rows:
                print_json(row)
            return
        if rows:
            print_table([name for name, _ in _OPEN], [[of(row) for _, of in _OPEN] for row in rows], cut=_CUT)
        else:
            print("no alert is raised")
        if open_:
            return
        print()
    show("alerts", _ALERTS, stream, follow, limit, last, where, json)


@app.command
def ack(stream: StreamName, name: AlertName, /, *, why: Why = "", where: Where = HERE, json: Json = False) -> None:
    """Acknowledge an alert that is raised: it is delivered again only when it clears.

    Example: millstream alerts ack phishing monitor.drift --why "the shop changed its form"
    """
    note = _decide("ack", stream, name, why, where)
    _say(note, json, f"{name} is acknowledged; it is delivered again when it clears")


@app.command
def silence(
    stream: StreamName,
    name: AlertName,
    /,
    *,
    for_: Annotated[str, Parameter(name="--for", help="How long: 30m, 2h, 7d.")],
    why: Why = "",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Do not deliver an alert for a time. It is still raised and shown, and its rule still acts.

    An alert that is first raised during the silence, and still is when it ends, is delivered then; changes of one that
    was delivered before are not.

    Example: millstream alerts silence phishing monitor.drift --for 2h --why "a test of the shop"
    """
    from millstream.stream.duration import milliseconds

    note = _decide("silence", stream, name, why, where, milliseconds(for_))
    _say(
        note, json, f"{name} is silenced until {at(note.until)}; `millstream alerts unsilence {stream} {name}` ends it"
    )


@app.command
def unsilence(
    stream: StreamName, name: AlertName, /, *, why: Why = "", where: Where = HERE, json: Json = False
) -> None:
    """End the silence of an alert; if it was first raised during it, and still is, it is delivered now.

    Example: millstream alerts unsilence phishing monitor.drift
    """
    _say(_decide("unsilence", stream, name, why, where), json, f"{name} is no longer silenced")


@app.command(name="test")
def try_(
    stream: StreamFileName,
    target: Annotated[str | None, Parameter(name="TARGET", help="Name of a target [default: all].")] = None,
    /,
    *,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Send a test alert to the stream's targets; exit code 1 if one has not accepted it.

    Addresses and secrets are those of this environment.

    Example: millstream alerts test my_stream.py ops
    """
    import os

    from millstream.alerting.try_target import try_targets
    from millstream.stream.notified_targets import target_of

    where.settings()
    loaded = load_file(stream, "alerts test")
    every = [each.name for each in loaded.stream.notify]
    if not every:
        raise UsageError(f"{loaded.path.name} has no target: notify=[Webhook('ops', url=...)] is one")
    if target is not None and target not in every:
        raise UsageError(f"{loaded.path.name} has no target {target!r:.60}; there are {', '.join(every)}")
    targets = [target_of(each, os.environ) for each in loaded.stream.notify if target in (None, each.name)]
    tried = try_targets(loaded.stream.name, targets)
    if json:
        for each in tried:
            print_json(
                {
                    "target": each.target,
                    "kind": each.kind,
                    "delivered": each.why is None,
                    "why": each.why,
                    "ms": each.ms,
                }
            )
    else:
        rows = [
            (each.target, each.kind, "delivered" if each.why is None else each.why, f"{each.ms} ms") for each in tried
        ]
        print_table(("target", "kind", "result", "took"), rows)
    return OK if all(each.why is None for each in tried) else FAILED


def _decide(
    decision: AlertDecision, stream: str, name: str, why: str, where: Where, for_ms: int | None = None
) -> AlertNote:
    from millstream.alerting.decisions import InvalidAlertName, InvalidSilence, check_name, decide_alert
    from millstream.versions.decisions import who

    try:
        check_name(name)
        settings = where.settings()
        cluster = settings.cluster()
        names = full_names(stream, settings, cluster)
        with filling_in(stream):
            return decide_alert(cluster, names, decision, name, by=who(), why=why, for_ms=for_ms)
    except (InvalidAlertName, InvalidSilence) as error:
        raise UsageError(str(error)) from error


def _say(note: AlertNote, as_json: bool, text: str) -> None:
    if as_json:
        print_json(msgspec.structs.asdict(note))
    else:
        print(text)


def _decided(row: dict[str, Any]) -> str | None:
    """Return who has acknowledged or silenced an alert, and why."""
    parts = []
    for name, said in (("ack", "acknowledged"), ("silence", "silenced")):
        note = row[name]
        if note is not None:
            until = f" until {at(note['until'])}" if note["until"] is not None else ""
            parts.append(f"{said}{until} by {note['by']}{': ' * bool(note['why'])}{note['why']}")
    return "; ".join(parts) or None


_Column = tuple[str, Callable[[dict[str, Any]], object]]
_OPEN: Final[tuple[_Column, ...]] = (
    ("since", lambda row: at(row["since"]) if "since" in row else None),
    ("alert", lambda row: row["name"]),
    ("severity", lambda row: row.get("severity")),
    ("message", lambda row: row.get("message", row["state"])),
    ("decided", _decided),
)
_ALERTS: Final[Columns] = (
    ("time", lambda row: at(row["at"] if "at" in row else row["timestamp"])),
    ("alert", lambda row: row.get("name")),
    ("state", lambda row: row.get("state")),
    ("severity", lambda row: row.get("severity")),
    ("message", lambda row: row.get("message") or row.get("unreadable")),
)
_CUT: Final = {"message": 20, "decided": 20}
