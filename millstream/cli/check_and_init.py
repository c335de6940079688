"""`millstream init`, `check` and `schema`: write a stream file, try it, and print Avro schemas."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import HERE, Json, StreamFileName, UsageError, Where, load_file, print_json

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.scaffold.infer_topics import FoundTopics

_LOOKED_AT: Final = 1000


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


def init(
    name: Annotated[str, Parameter(name="NAME", help="Name of the stream: a-z, 0-9 and '-'.")],
    /,
    *,
    from_: Annotated[
        str | None,
        Parameter(name="--from", help="A .csv, .tsv, .jsonl or .avro file (also .gz, .bz2, .xz, .zst), or river:NAME."),
    ] = None,
    live: Live = NOWHERE,
    label: Annotated[str | None, Parameter(help="Column or path of the label [default: guessed].")] = None,
    id: Annotated[str | None, Parameter(help="Column or path of the event id [default: guessed].")] = None,  # noqa: A002
    time: Annotated[str | None, Parameter(help="Column or path of the event time [default: guessed].")] = None,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Write a first stream file, NAME.py, to the current folder. Infers its contract from a file or from topics.

    Reads the newest 1,000 messages of each topic, without joining a group.

    Example: millstream init fraud --from-topic payments --labels-from-topic chargebacks
    """
    from millstream.scaffold.write_stream_file import init as write
    from producers.infer import infer

    if from_ is None and live.from_topic is None and (label or id or time):
        raise UsageError("--label, --id and --time name columns of the file that --from names, or paths on topics")
    if from_ is not None and live.from_topic is not None:
        raise UsageError("--from and --from-topic both say where events come from; give one of them")
    if live.from_topic is None and live.labels_from_topic is not None:
        raise UsageError("--labels-from-topic goes with --from-topic")
    if label is not None and live.from_topic is not None and live.labels_from_topic is None:
        raise UsageError("--label is a path on the topic that --labels-from-topic names")
    settings = where.settings()  # reports an invalid prefix, even if it is not needed
    inferred = None if from_ is None else infer(from_, label=label, id=id, time=time)
    topics = None
    if live.from_topic is not None:
        topics = _look(settings, live.from_topic, live.labels_from_topic, label=label, id=id, time=time)
    notes = [] if inferred is None else list(inferred.notes)
    path = write(name, Path(), inferred, from_, topics, notes.append)
    if json:
        print_json({"stream": name, "path": str(path), "notes": notes})
        return
    for note in notes:
        print(f"note: {note}")
    if topics is not None and topics.unreadable[0]:
        print(f"{topics.unreadable[0]} messages of {topics.topic} could not be read: {topics.unreadable[1]}")
    for doubt in () if topics is None else topics.doubts():
        print(f"check this: {doubt}")
    print(f"wrote {path}; read it, then: millstream {'check' if topics is None else 'preview'} {path}")


def _look(settings: Settings, events: str, labels: str | None, **named: str | None) -> FoundTopics:
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
        **named,
    )


def check(
    stream: StreamFileName,
    /,
    *,
    from_: Annotated[
        str | None,
        Parameter(name="--from", help="Data to try the model on: a .csv, .tsv, .jsonl or .avro file, or river:NAME."),
    ] = None,
    json: Json = False,
) -> int:
    """Check a stream file: does its model build, learn, save, load, and answer the same each time?

    Finds lambdas that cannot be pickled, steps without a seed, and more. The exit code is 1 if the stream must not run
    like this. `millstream run` checks first. Without --from the events are generated.

    Example: millstream check my_stream.py --from my_data.csv
    """
    from millstream.check.check import check as examine

    report = examine(load_file(stream, "check"), place=from_)
    if json:
        print_json({**dataclasses.asdict(report), "ok": not report.errors})
        return int(bool(report.errors))
    for finding in report.findings:
        print(f"{finding.severity:<8} {finding.about}: {finding.text}")
    print(f"{report.stream}: {'must not run like this' if report.errors else 'fit to run'}", end="")
    print(f", tried on {report.events} {report.origin}")
    return int(bool(report.errors))


def schema(
    kind: Annotated[Literal["Event", "Label", "Prediction"], Parameter(name="KIND", help="Kind of record.")],
    /,
) -> None:
    """Print the complete Avro schema of events, labels or predictions, for the Avro library of another service.

    Example: millstream schema Prediction > prediction.avsc
    """
    from schemas.codec import full_schema

    print_json(full_schema(kind))
