"""`millstream preview`: events of the topic as sent, as mapped, and as answered."""

from __future__ import annotations

from typing import Annotated, Any, Final

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import (
    HERE,
    CodePolicy,
    Json,
    StreamName,
    UsageError,
    Where,
    at,
    filling_in,
    load_named,
    print_json,
    print_table,
)

_RAW: Final = 200  # characters of the message; a table cuts it further


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(preview)


def preview(
    stream: StreamName,
    /,
    *,
    count: Annotated[int, Parameter(help="Number of events.")] = 10,
    newest: Annotated[bool, Parameter(negative="", help="Show the newest events instead of the first.")] = False,
    code: CodePolicy = "version",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show events as sent, as mapped, and as the served version would answer them.

    Writes nothing and joins no group, so running roles are not affected. If the answer would be an error, the error is
    shown instead of the prediction.

    Example: millstream preview fraud.py --count 5 --newest
    """
    from millstream.versions.preview import preview as look
    from millstream.versions.preview import serving

    if count < 1:
        raise UsageError("--count is a number of events, at least 1")
    settings = where.settings()
    loaded = load_named(stream, settings, code)
    cluster = settings.cluster()
    with filling_in(stream), serving(loaded, settings, cluster, code) as version:
        rows = look(loaded, settings, cluster, version, count, newest=newest)
        if json:
            for row in rows:
                print_json(row)
            return
        _print(list(rows), served=version is not None, topic=settings.names(loaded.stream).topic("features"))


def _print(rows: list[dict[str, Any]], *, served: bool, topic: str) -> None:
    if not rows:
        print(f"there are no events on {topic}")
        return
    columns = ("time", "raw", "event", "features", "prediction", "probability")
    print_table(columns, [_cells(row) for row in rows], spare=("probability", "time"), cut=_CUT)
    if not served:
        print("no version serves yet: the events are mapped only")


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    sure = max((row["probabilities"] or {}).values(), default=None)
    features = None if row["features"] is None else " ".join(f"{k}={_short(v)}" for k, v in row["features"].items())
    error = row["error"]
    answer = row["prediction"] if error is None else f"{error['code']}: {error['message']}"
    return at(row["timestamp"]), _raw(row), row["event_id"], features, answer, sure


def _raw(row: dict[str, Any]) -> str:
    """Return the message as text: JSON unchanged, other formats decoded."""
    text = row["raw"] or ""
    if not text.lstrip().startswith(("{", "[")) and row.get("message") is not None:
        text = str(row["message"])
    return text if len(text) <= _RAW else text[: _RAW - 1] + "…"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_CUT: Final = {"raw": 16, "features": 16, "event": 12, "prediction": 12}
