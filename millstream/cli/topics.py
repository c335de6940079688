"""`millstream topics …`: create, check and delete the topics of a stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import HERE, Json, StreamName, UsageError, Where, load_named, print_json, print_table
from runtime.exits import OK

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.status.snapshot import StreamSnapshot
    from millstream.stream.stream import Stream
    from millstream.topics.admin import CreateReport, TopicFinding
    from millstream.topics.export import Form
    from schemas.topics import Names, TopicSpec

app = cyclopts.App(name="topics", help="Create, check and delete the topics of a stream.")


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)


@app.command
def create(
    stream: StreamName,
    /,
    *,
    fix: Annotated[
        bool,
        Parameter(negative="", help="Correct settings and add partitions, if that loses nothing."),
    ] = False,
    dry_run: Annotated[bool, Parameter(negative="", help="Show the changes without making them.")] = False,
    print_: Annotated[
        Literal["kafka-topics", "strimzi", "terraform"] | None,
        Parameter(
            name="--print", help="Print what creates the topics, for an administrator; do not contact the cluster."
        ),
    ] = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Create missing topics, and report wrong settings, each with its fix. A second run changes nothing.

    An external topic (Source) is looked for and never changed.

    The replication factor is the broker's default. The exit code is 1 if something wrong is left.

    Example: millstream topics create phishing
    """
    from millstream.topics.admin import create as make

    settings = where.settings()
    found = load_named(stream, settings).stream
    if print_ is not None:
        return _print(print_, settings, found)
    if dry_run:
        return _dry_run(settings, found, stream, fix=fix, as_json=json)
    outcome = make(
        settings.cluster(),
        settings.names(found),
        partitions=found.partitions,
        label_wait_ms=found.labels.wait_ms,
        fix=fix,
    )
    return _show(outcome, stream, json)


@app.command
def describe(stream: StreamName, /, *, where: Where = HERE, json: Json = False) -> int:
    """Show the existing topics, and report wrong settings, each with its fix. Changes nothing.

    The exit code is 1 if something is wrong.

    Example: millstream topics describe phishing --json
    """
    from millstream.topics.admin import describe as look

    settings = where.settings()
    found = load_named(stream, settings).stream
    outcome = look(
        settings.cluster(),
        settings.names(found),
        partitions=found.partitions,
        label_wait_ms=found.labels.wait_ms,
    )
    return _show(outcome, stream, json)


@app.command
def delete(
    stream: StreamName,
    /,
    *,
    versions: Annotated[
        bool, Parameter(negative="", help="Also delete the versions in the model store [default: they stay].")
    ] = False,
    yes: Annotated[bool, Parameter(negative="", help="Do not ask for confirmation.")] = False,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Delete a stream: its topics with all their records, its groups, and its state in the home folder.

    An external topic (Source) is not touched.

    Asks for confirmation. Stop all roles of the stream first.

    Example: millstream topics delete phishing
    """
    from millstream.cli.shared_options import full_names
    from millstream.status.group_metadata import with_former_models
    from millstream.status.snapshot import Observer
    from millstream.topics.delete_stream import NotForgotten, forget, instances_here

    settings = where.settings()
    cluster = settings.cluster()
    names = with_former_models(cluster, full_names(stream, settings, cluster))
    with Observer(cluster, names) as observer:
        now = observer.look()
    if working := [f"{role} ({count})" for role, count in now.members.items() if count]:
        raise NotForgotten(
            f"{', '.join(working)} of {names.stream} {'is' if len(working) == 1 else 'are'} at work: end them first "
            "(one that was killed is counted until its session ends, 15 s)"
        )
    what = _there(now, names)
    if not what and not versions:
        raise NotForgotten(f"{names.prefix}{names.stream} has no topics on {cluster.bootstrap}: nothing to delete")
    if not yes and not _agreed(names, what, versions=versions):
        print("nothing was deleted")
        return
    forget(cluster, settings, names, instances_here(settings, names), versions=versions)
    if json:
        print_json({"stream": names.stream, "deleted": what, "versions": versions})
    else:
        print(f"{names.prefix}{names.stream} is deleted" + ("" if versions else "; its versions stay in the store"))


def _there(now: StreamSnapshot, names: Names) -> dict[str, int]:
    """Return the topics that hold data, and how many offsets each spans."""
    from millstream.status.snapshot import LABELS_FROM

    found: dict[str, int] = {}
    for (kind, partition), end in now.ends.items():
        if kind in names.elsewhere or kind.startswith(LABELS_FROM):
            continue  # external
        topic = now.topics[kind]
        found[topic] = found.get(topic, 0) + end - now.begins.get((kind, partition), 0)
    return found


def _agreed(names: Names, what: Mapping[str, int], *, versions: bool) -> bool:
    import sys

    if not sys.stdin.isatty():
        raise UsageError(f"delete removes all of {names.stream}; say --yes to do so")
    for topic, count in what.items():
        print(f"{topic}: up to {count:,} records")
    also = " and the versions of its model" if versions else ""
    said = input(f"Delete these, the rest of the stream's topics{also}? Type {names.stream} to do so: ")
    return said.strip() == names.stream


def _specs(settings: Settings, found: Stream) -> list[TopicSpec]:
    from schemas.topics import specs

    return specs(settings.names(found), partitions=found.partitions, label_wait_ms=found.labels.wait_ms)


def _print(form: Form, settings: Settings, found: Stream) -> int:
    from millstream.topics.export import script

    print(script(form, _specs(settings, found), settings.bootstrap or "HOST:PORT"))
    return OK


def _dry_run(settings: Settings, found: Stream, stream: str, *, fix: bool, as_json: bool) -> int:
    from millstream.topics.admin import describe as look

    names = settings.names(found)
    outcome = look(settings.cluster(), names, partitions=found.partitions, label_wait_ms=found.labels.wait_ms)
    there = {topic.name for topic in outcome.topics}
    missing = [spec for spec in _specs(settings, found) if spec.name not in there]
    changes = [each for each in outcome.findings if fix and each.change is not None]
    made = {spec.name for spec in missing}
    left = [each for each in outcome.findings if each not in changes and each.topic not in made]
    if as_json:
        print_json(
            {
                "would_create": [dataclasses.asdict(spec) for spec in missing],
                "would_set": [f"{each.topic}: {'='.join(each.change or ())}" for each in changes],
                "findings": [dataclasses.asdict(each) for each in left],
            }
        )
    else:
        rows = [(spec.name, spec.partitions, " ".join(f"{k}={v}" for k, v in spec.config.items())) for spec in missing]
        if rows:
            print_table(("would be created", "partitions", "settings"), rows)
        for each in changes:
            print(f"would set {each.topic}: {'='.join(each.change or ())}")
        _print_findings(_named(left, stream))
        if not (rows or changes or left):
            print("nothing to do: all topics meet the stream's requirements")
    return int(any(each.severity == "error" for each in left))


def _show(outcome: CreateReport, stream: str, as_json: bool) -> int:
    findings = _named(outcome.findings, stream)
    wrong = any(each.severity == "error" for each in findings)
    if as_json:
        plain = dataclasses.asdict(dataclasses.replace(outcome, findings=tuple(findings)))
        print_json({**plain, "ok": not wrong})
        return int(wrong)
    marks = dict.fromkeys(outcome.created, "created") | dict.fromkeys(outcome.elsewhere, "external")
    rows = [
        (
            topic.name,
            topic.partitions,
            topic.config.get("cleanup.policy"),
            topic.config.get("message.timestamp.type"),
            _kept(topic.config),
            marks.get(topic.name, ""),
        )
        for topic in outcome.topics
    ]
    print_table(("topic", "partitions", "policy", "time", "kept", ""), rows)
    for line in outcome.altered:
        print(f"set {line}")
    _print_findings(findings)
    if not findings:
        print("all topics meet the stream's requirements")
    return int(wrong)


def _named(findings: Iterable[TopicFinding], stream: str) -> list[TopicFinding]:
    """Return the findings with fixes that contain the stream as the user named it."""
    return [dataclasses.replace(each, fix=each.fix.replace("create STREAM", f"create {stream}")) for each in findings]


def _print_findings(findings: Iterable[TopicFinding]) -> None:
    from millstream.topics.admin import by_fix

    for fix, alike in by_fix(findings).items():
        for each in alike:
            print(f"{each.severity}: {each.message}")
            if each.by_hand:
                print(f"  by hand: {each.by_hand}")
        print(f"  fix: {fix}" if len(alike) == 1 else f"  fix for these {len(alike)}: {fix}")


def _kept(config: Mapping[str, str]) -> str:
    from schemas.duration_text import spoken

    if config.get("cleanup.policy") == "compact":
        return "newest of each key"
    retention = int(config.get("retention.ms", "-1"))
    return "for ever" if retention < 0 else spoken(retention)
