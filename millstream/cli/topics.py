"""`millstream topics …`: a stream's topics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from millstream.cli.common import HERE, Json, StreamName, Where, print_json, print_table

if TYPE_CHECKING:
    from millstream.admin import Outcome

app = cyclopts.App(name="topics", help="Create a stream's topics, and judge those that exist.")


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)


@app.command
def create(
    stream: StreamName,
    /,
    *,
    fix: Annotated[
        bool, Parameter(negative="", help="Alter settings of existing topics where that loses nothing.")
    ] = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Create what is missing and name what is wrong, each with its fix. Again does nothing.

    The exit code is 1 where something wrong is left.

    Example: millstream topics create phishing
    """
    from millstream.admin import create as make
    from millstream.load import load_stream

    settings, found = where.settings(), load_stream(stream).stream
    outcome = make(
        settings.cluster(),
        settings.names(found.name),
        partitions=found.partitions,
        label_wait_ms=found.label_wait_ms,
        fix=fix,
    )
    return _show(outcome, stream, json)


@app.command
def describe(stream: StreamName, /, *, where: Where = HERE, json: Json = False) -> int:
    """Show the topics as they are and name what is wrong, each with its fix. Changes nothing.

    The exit code is 1 where something is wrong.

    Example: millstream topics describe phishing --json
    """
    from millstream.admin import describe as look
    from millstream.load import load_stream

    settings, found = where.settings(), load_stream(stream).stream
    outcome = look(
        settings.cluster(),
        settings.names(found.name),
        partitions=found.partitions,
        label_wait_ms=found.label_wait_ms,
    )
    return _show(outcome, stream, json)


def _show(outcome: Outcome, stream: str, as_json: bool) -> int:
    findings = [
        dataclasses.replace(each, fix=each.fix.replace("create STREAM", f"create {stream}"))
        for each in outcome.findings
    ]
    wrong = any(each.severity == "error" for each in findings)
    if as_json:
        plain = dataclasses.asdict(dataclasses.replace(outcome, findings=tuple(findings)))
        print_json({**plain, "ok": not wrong})
        return int(wrong)
    rows = [
        (
            topic.name,
            topic.partitions,
            topic.config.get("cleanup.policy"),
            topic.config.get("message.timestamp.type"),
            _kept(topic.config),
            "created" if topic.name in outcome.created else "",
        )
        for topic in outcome.topics
    ]
    print_table(("topic", "partitions", "policy", "time", "kept", ""), rows)
    for line in outcome.altered:
        print(f"set {line}")
    for each in findings:
        print(f"{each.severity}: {each.message}\n  fix: {each.fix}")
    if not findings:
        print("all topics are as they must be")
    return int(wrong)


def _kept(config: Mapping[str, str]) -> str:
    from millstream.duration import spoken

    if config.get("cleanup.policy") == "compact":
        return "newest of each key"
    retention = int(config.get("retention.ms", "-1"))
    return "for ever" if retention < 0 else spoken(retention)
