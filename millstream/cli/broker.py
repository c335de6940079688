"""`millstream broker …`: starts, stops, shows and resets the embedded Kafka."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import (
    HERE,
    HERE_WITH_BROKER,
    Json,
    UsageError,
    Where,
    WhereWithBroker,
    print_fields,
    print_json,
)
from runtime.exits import FAILED, OK

if TYPE_CHECKING:
    from millstream.embedded_kafka.broker import EmbeddedBroker

app = cyclopts.App(name="broker", help="Start, stop and show the embedded Kafka.")


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)


def say(line: str) -> None:
    """Print progress to standard error, apart from the result."""
    print(line, file=sys.stderr, flush=True)


_LAST_PORT: Final = 65_535


def _broker(where: Where) -> EmbeddedBroker:
    return where.settings().embedded_broker()


def _show(status: Any, as_json: bool) -> None:
    fields = dataclasses.asdict(status)
    if as_json:
        print_json(fields)
    else:
        print_fields({name.replace("_", " "): value for name, value in fields.items()})


@app.command
def start(
    *,
    port: Annotated[
        int | None, Parameter(help="Port to listen on [default: the previous one, else a free one].")
    ] = None,
    where: WhereWithBroker = HERE_WITH_BROKER,
    json: Json = False,
) -> None:
    """Start the embedded Kafka, or show the address of a running one. Its data survives stops and crashes.

    Example: millstream broker start
    """
    if port is not None and not 0 <= port <= _LAST_PORT:
        raise UsageError(f"--port {port} must be 1 to {_LAST_PORT}, or 0 for a free one")
    from millstream.embedded_kafka.broker import EmbeddedBroker

    broker = EmbeddedBroker(where.settings().broker, port=port, compiler=where.broker_compiler)
    _show(broker.start(say=say), json)


@app.command
def stop(*, where: Where = HERE, json: Json = False) -> None:
    """Stop the embedded Kafka cleanly; its data stays.

    Example: millstream broker stop
    """
    broker = _broker(where)
    broker.stop()
    if json:
        _show(broker.status(), json)
    else:
        print("the embedded broker is stopped; its data stays")


@app.command
def status(*, where: Where = HERE, json: Json = False) -> int:
    """Show whether the embedded Kafka runs, and its address. The exit code is 1 if it does not run.

    Example: millstream broker status --json
    """
    found = _broker(where).status()
    _show(found, json)
    return OK if found.running else FAILED


@app.command
def reset(
    *,
    yes: Annotated[bool, Parameter(negative="", help="Do not ask for confirmation.")] = False,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Stop the embedded Kafka and delete its data: every topic of every stream. Versions stay.

    Example: millstream broker reset --yes
    """
    from millstream.cli.shared_options import UsageError

    broker = _broker(where)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("reset deletes every topic of every stream; say --yes to do so")
        if input(f"Delete all data of the broker in {where.settings().broker}? [y/N] ").strip().lower() != "y":
            print("nothing was deleted")
            return
    broker.reset()
    if json:
        _show(broker.status(), json)
    else:
        print("the embedded broker is empty; `millstream broker start` starts an empty one")
