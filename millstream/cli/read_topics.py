"""`millstream predictions`, `examples` and `dead-letters`: show the records of those topics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import cyclopts
from cyclopts import Parameter

from millstream.cli.dead_letters import NOTHING_BACK, Back, send_back
from millstream.cli.shared_options import (
    HERE,
    Json,
    StreamName,
    UsageError,
    Where,
    at,
    filling_in,
    full_names,
    print_json,
    print_table,
)

_SHOWN: Final = 20

Limit = Annotated[
    int | None, Parameter(help="Stop after this many records; 0 is no limit. A table begins with the first record.")
]
Last = Annotated[
    int | None, Parameter(help="Show this many newest records [default in a table and with --follow: 20].")
]
Follow = Annotated[
    bool,
    Parameter(negative="", help="Start with the newest 20, or --last, and continue with new records until Ctrl-C."),
]


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(predictions)
    parent.command(examples)
    parent.command(dead_letters)


def predictions(
    stream: StreamName,
    /,
    *,
    follow: Follow = False,
    limit: Limit = None,
    last: Last = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show the answers: each event's features as used, prediction, probabilities and version.

    JSON lines are sorted by partition and offset, a table by the broker's time.

    Example: millstream predictions phishing --follow
    """
    show("predictions", _PREDICTIONS, stream, follow, limit, last, where, json)


def examples(
    stream: StreamName,
    /,
    *,
    follow: Follow = False,
    limit: Limit = None,
    last: Last = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show the examples log in its order: features, label, prediction, version, lane and sequence.

    Example: millstream examples phishing --json --limit 3
    """
    show("examples", _EXAMPLES, stream, follow, limit, last, where, json)


def dead_letters(
    stream: StreamName,
    /,
    *,
    follow: Follow = False,
    limit: Limit = None,
    last: Last = None,
    back: Back = NOTHING_BACK,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show rejected records with their bytes, topic, offset and reason. With --replay, send them back.

    Fix the cause first. --replay sends dead letters back to the topics that they came from, once each, with the same
    key, value and headers. It first shows how many, and asks for confirmation.

    Example: millstream dead-letters phishing --replay --reason type
    """
    if back.replay:
        if follow or limit is not None or last is not None:
            raise UsageError("--replay sends letters back and shows none: leave out --follow, --limit and --last")
        send_back(stream, back, where, json)
        return
    if back != NOTHING_BACK:
        raise UsageError("--reason, --stage, --key, --offsets, --again, --elsewhere and --yes go with --replay")
    show("dead-letters", _DEAD_LETTERS, stream, follow, limit, last, where, json)


Columns = Sequence[tuple[str, Callable[[dict[str, Any]], object]]]


def show(
    kind: str,
    columns: Columns,
    stream: str,
    follow: bool,
    limit: int | None,
    last: int | None,
    where: Where,
    as_json: bool,
) -> None:
    """Show records of a kind of topic."""
    from millstream.reading import topic_readers

    if (limit or 0) < 0 or (last or 0) < 0:
        raise UsageError("--limit and --last are numbers of records, at least 0")
    settings = where.settings()
    cluster = settings.cluster()
    names = full_names(stream, settings, cluster)
    limit = limit or None
    with filling_in(stream):
        if follow:
            newest = _SHOWN if last is None else last
            for row in topic_readers.follow(cluster, names, kind, last=newest, limit=limit):
                print_json(row) if as_json else print(_line(row, columns), flush=True)
        elif as_json:
            for row in topic_readers.read(cluster, names, kind, limit=limit, last=last):
                print_json(row)
        else:
            begin = _SHOWN if last is None and limit is None else last
            rows = topic_readers.merged(list(topic_readers.read(cluster, names, kind, limit=limit, last=begin)))
            _print(kind, columns, rows, cut=begin == _SHOWN and len(rows) == _SHOWN and last is None)


def _print(kind: str, columns: Columns, rows: list[dict[str, Any]], *, cut: bool) -> None:
    if not rows:
        print(f"there are no {kind.replace('-', ' ')}")
        return
    print_table(
        [name for name, _ in columns], [[show(row) for _, show in columns] for row in rows], spare=_SPARE, cut=_CUT
    )
    if cut:
        print(f"the newest {_SHOWN}; --last N shows more, --json all")


def _line(row: dict[str, Any], columns: Columns) -> str:
    from millstream.cli.shared_options import cell

    return "  ".join(cell(show(row)) for _, show in columns)


def _features(row: dict[str, Any]) -> str:
    if "unreadable" in row:
        return f"unreadable: {row['unreadable']}"
    text = " ".join(f"{name}={_short(value)}" for name, value in row["features"].items())
    return text if len(text) <= 60 else text[:59] + "…"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _answer(row: dict[str, Any]) -> object:
    error = row.get("error")
    if error:
        return f"{error['code']}: {error['message']}"
    return row.get("prediction")


def _sure(row: dict[str, Any]) -> object:
    return max((row.get("probabilities") or {}).values(), default=None)


def _from(row: dict[str, Any]) -> object:
    place = row.get("from")
    return f"{place['topic']}-{place['partition']}@{place['offset']}" if place else None


_PREDICTIONS: Final[Columns] = (
    ("time", lambda row: at(row["timestamp"])),
    ("event", lambda row: row["event_id"]),
    ("prediction", _answer),
    ("probability", _sure),
    ("version", lambda row: row.get("version")),
    ("features", _features),
)
_EXAMPLES: Final[Columns] = (
    ("offset", lambda row: row["offset"]),
    ("lane", lambda row: row.get("lane")),
    ("sequence", lambda row: row.get("sequence")),
    ("event", lambda row: row["event_id"]),
    ("label", lambda row: row.get("label")),
    ("kind", lambda row: row.get("kind")),
    ("prediction", _answer),
    ("version", lambda row: row.get("version")),
    ("features", _features),
)
_DEAD_LETTERS: Final[Columns] = (
    ("offset", lambda row: row["offset"]),
    ("time", lambda row: at(row["timestamp"])),
    ("stage", lambda row: row.get("stage")),
    ("from", _from),
    ("code", lambda row: row.get("code")),
    ("reason", lambda row: row.get("reason") or row.get("unreadable")),
    ("key", lambda row: row.get("key")),
)
# Columns that a narrow terminal leaves out, least important first; below, the ones that it shortens.
_SPARE: Final = ("sequence", "kind", "probability", "time", "stage", "lane", "key", "offset", "version")
_CUT: Final = {"features": 12, "reason": 20, "message": 20, "prediction": 12, "event": 20, "from": 24, "key": 12}
