"""`millstream init`, `check` and `schema`: write a stream file, try it, and print Avro schemas."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import (
    HERE,
    Json,
    StreamFileName,
    UsageError,
    Where,
    cell,
    load_file,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from millstream.check.findings import Finding
    from millstream.config.settings import Settings
    from millstream.scaffold.infer_topics import FoundTopics
    from millstream.stream.load import LoadedStream
    from producers.columns import Choice

_LOOKED_AT: Final = 1000
_KAFKA_S: Final = 2.0  # a check does not wait longer for a Kafka that it can do without
_CORRECTED: Final = ("label", "task", "id", "time")
Task: TypeAlias = Literal["binary", "multiclass", "regression", "anomaly"]


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(init)
    parent.command(check)
    parent.command(schema)


@Parameter(name="*")
@dataclass(frozen=True)
class Live:
    """External topics that `init` reads."""

    from_topic: str | None = None
    """External topic with events."""

    labels_from_topic: str | None = None
    """External topic with labels; needs --from-topic."""


NOWHERE: Final = Live()


@Parameter(name="*")
@dataclass(frozen=True)
class Named:
    """What `init` would guess."""

    label: str | None = None
    """Column or path of the label [default: guessed]."""

    task: Task | None = None
    """Task of the stream [default: guessed by the labels]."""

    id: str | None = None
    """Column or path of the event id; none for no column [default: guessed]."""

    time: str | None = None
    """Column or path of the event time; none for no column [default: guessed]."""

    calendar: bool = True
    """Try the hour, the weekday and the month of a file's time column as features; they are kept if they help."""


GUESSED: Final = Named()


def init(
    name: Annotated[str, Parameter(name="NAME", help="Name of the stream: a-z, 0-9 and '-'.")],
    /,
    *,
    from_: Annotated[
        str | None,
        Parameter(name="--from", help="A .csv, .tsv, .jsonl or .avro file (also .gz, .bz2, .xz, .zst), or river:NAME."),
    ] = None,
    live: Live = NOWHERE,
    named: Named = GUESSED,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Write a first stream file, NAME.py, to the current folder. Infers its contract from a file or from topics.

    Says what it took for label, task, id and time, and why. Tries a few models on the data, and writes none that
    loses to its baseline. Reads the first 10,000 rows of a file, or the newest 1,000 messages of each topic.

    Example: millstream init fraud --from-topic payments --labels-from-topic chargebacks
    """
    from millstream.scaffold.choices import topic_choices
    from millstream.scaffold.write_stream_file import init as write
    from producers.infer import infer

    if from_ is None and live.from_topic is None and (named.label or named.id or named.time):
        raise UsageError("--label, --id and --time name columns of the file that --from names, or paths on topics")
    if from_ is not None and live.from_topic is not None:
        raise UsageError("--from and --from-topic both say where events come from; give one of them")
    if live.from_topic is None and live.labels_from_topic is not None:
        raise UsageError("--labels-from-topic goes with --from-topic")
    if named.label is not None and live.from_topic is not None and live.labels_from_topic is None:
        raise UsageError("--label is a path on the topic that --labels-from-topic names")
    if named.id == "none" and live.from_topic is not None:
        raise UsageError("--id none goes with --from: an event of a topic without an id has topic-partition-offset")
    settings = where.settings()  # reports an invalid prefix, even if it is not needed
    given: dict[str, Any] = {each: getattr(named, each) for each in _CORRECTED}
    inferred = None if from_ is None else infer(from_, **given)
    topics, choices = None, () if inferred is None else inferred.choices
    if live.from_topic is not None:
        topics = _look(settings, live.from_topic, live.labels_from_topic, given)
        choices = tuple(topic_choices(topics, **given))
    notes = [] if inferred is None else list(inferred.notes)
    path = write(name, Path(), inferred, from_, topics, notes.append, named.task, named.calendar)
    if json:
        print_json({"stream": name, "path": str(path), "choices": list(choices), "notes": notes})
        return
    _print_choices(choices)
    for note in notes:
        print(f"note: {note}")
    if topics is not None and topics.unreadable[0]:
        print(f"{topics.unreadable[0]} messages of {topics.topic} could not be read: {topics.unreadable[1]}")
    for doubt in () if topics is None else topics.doubts():
        print(f"check this: {doubt}")
    command = "preview" if topics is not None else f"check {path} --from {shlex.quote(from_)}" if from_ else "check"
    print(f"wrote {path}; read it, then: millstream {command if ' ' in command else f'{command} {path}'}")


def _print_choices(choices: Sequence[Choice]) -> None:
    """Print what was taken, and why: a table on a terminal, plain lines elsewhere."""
    if not choices:
        return
    if sys.stdout.isatty():
        rows = [(each.what, each.taken, each.why, each.seen) for each in choices]
        print_table(("what", "taken", "why", "seen"), rows)
    else:
        for each in choices:
            print(" ".join(cell(each).split()))
    print("correct it with " + ", ".join(f"--{each.what}" for each in choices if each.what in _CORRECTED))


def _look(settings: Settings, events: str, labels: str | None, given: dict[str, Any]) -> FoundTopics:
    """Return the stream inferred from live topics."""
    from millstream.scaffold.infer_topics import infer_topics
    from millstream.scaffold.sample_topic import sample
    from schemas.sources.source import Source

    for topic in filter(None, (events, labels)):
        Source(topic=topic)  # reports an invalid name before any request
    cluster, registry = settings.cluster(), settings.schema_registry()
    return infer_topics(
        sample(cluster, events, registry, _LOOKED_AT),
        None if labels is None else sample(cluster, labels, registry, _LOOKED_AT),
        **given,
    )


def check(
    stream: StreamFileName,
    /,
    *,
    from_: Annotated[
        str | None,
        Parameter(name="--from", help="Data to try the model on: a .csv, .tsv, .jsonl or .avro file, or river:NAME."),
    ] = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Check a stream file: does its model build, learn, save, load, and answer the same each time?

    Finds lambdas that cannot be pickled, steps without a seed, and more. The exit code is 1 if the stream must not run
    like this. `millstream run` checks first. Without --from the events are generated. If the stream's Kafka answers,
    the model that serves there must be in the file.

    Example: millstream check my_stream.py --from my_data.csv
    """
    from millstream.check.check import check as examine

    loaded = load_file(stream, "check")
    report = examine(loaded, place=from_)
    report = dataclasses.replace(report, findings=(*report.findings, *_served(loaded, where)))
    if json:
        print_json({**dataclasses.asdict(report), "ok": not report.errors})
        return int(bool(report.errors))
    for finding in report.findings:
        print(f"{finding.severity:<8} {finding.about}: {finding.text}")
    print(f"{report.stream}: {'must not run like this' if report.errors else 'fit to run'}", end="")
    print(f", tried on {report.events} {report.origin}")
    return int(bool(report.errors))


def _served(loaded: LoadedStream, where: Where) -> list[Finding]:
    """Return the findings on what serves now; nothing if no Kafka answers, because a check needs none."""
    from millstream.check.check import Finding
    from millstream.reading.decision_history import lost_model
    from runtime.kafka_client.cluster import NoBroker
    from runtime.kafka_client.errors import KafkaError

    settings = where.settings()
    try:
        cluster = settings.cluster()
        cluster.require(_KAFKA_S)
        lost = lost_model(cluster, settings.names(loaded.stream), loaded.path.name)
    except (KafkaError, NoBroker):
        return []
    return [] if lost is None else [Finding("error", "models", lost)]


def schema(
    kind: Annotated[Literal["Event", "Label", "Prediction"], Parameter(name="KIND", help="Kind of record.")],
    /,
) -> None:
    """Print the complete Avro schema of events, labels or predictions, for the Avro library of another service.

    Example: millstream schema Prediction > prediction.avsc
    """
    from schemas.codec import full_schema

    print_json(full_schema(kind))
