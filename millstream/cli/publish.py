"""`millstream publish`, `import` and `label`: send events, history and labels to Kafka."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import cyclopts
from cyclopts import Parameter

from millstream.cli.progress import Bar
from millstream.cli.shared_options import (
    HERE,
    Json,
    StreamName,
    UsageError,
    Where,
    cell,
    filling_in,
    load_named,
    print_fields,
    print_json,
)
from runtime.exits import FAILED, INTERRUPTED, OK

if TYPE_CHECKING:
    from millstream.reading.first_answers import FirstAnswers
    from millstream.status.published_quality import PublishedQuality
    from millstream.stream.stream import Stream
    from producers.imports import ImportReport
    from producers.publisher import PublishOptions, PublishReport

_ANSWERS_SECONDS: Final = 5.0  # to wait for the answers to the first events
_LEARNED_SECONDS: Final = 10.0  # to wait until the labels are learned, and in a version

SourceName = Annotated[
    str,
    Parameter(name="SOURCE", help="A .csv, .tsv, .jsonl or .avro file (also .gz, .bz2, .xz, .zst), or river:NAME."),
]


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(publish)
    parent.command(import_, name="import")
    parent.command(label)


def publish(
    stream: StreamName,
    source: SourceName,
    /,
    *,
    rate: Annotated[float | None, Parameter(help="Events per second [default: no limit].")] = None,
    label_delay: Annotated[
        str, Parameter(help="Delay of labels after their features: a number of events (50) or a time (30m).")
    ] = "0",
    limit: Annotated[int | None, Parameter(help="Largest number of events.")] = None,
    skip_bad_rows: Annotated[bool, Parameter(negative="", help="Count invalid rows, and continue.")] = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Publish features and labels from a file or a data set. Never writes to an external topic.

    The same source gives the same event ids: if you publish it twice, the second time counts as duplicates. At the end
    it shows what became of the first 100 events, if a predictor runs, and with 100 labels or more the served metrics
    beside the baselines. It waits at most 5 s for the answers, and 10 s until the labels are learned.

    Example: millstream publish phishing river:Phishing --rate 200 --label-delay 50
    """
    from millstream.reading.first_answers import AnswersFromNow
    from millstream.scaffold.open_data import source_of
    from millstream.status.published_quality import quality_of_published
    from producers.publisher import Progress
    from producers.publisher import publish as send

    options = _options(rate, label_delay, limit, skip_bad_rows)
    settings = where.settings()
    found = load_named(stream, settings).stream
    _require_own_events(found)
    cluster, names = settings.cluster(), settings.names(found)
    rows = source_of(found, source)
    ids: tuple[str, ...] = ()
    with Bar("events") as bar:

        def show(at: Progress) -> None:
            nonlocal ids
            ids = at.first_ids
            stalled = f"no answer for {at.stalled_seconds:.0f} s" if at.stalled_seconds > 2 else ""
            bar.show(at.acknowledged, at.total, stalled or f"{at.labels_acknowledged:,} labels")

        with filling_in(stream):
            answers = AnswersFromNow(cluster, names)
            report = send(cluster, names, rows, options, progress=show)
    found_answers = None if report.interrupted or not ids else answers.to(ids, _ANSWERS_SECONDS)
    quality = None
    # Without predictors nothing is served that labels could measure.
    if found_answers is not None and found_answers.predictors and report.labels_acknowledged:
        quality = quality_of_published(cluster, names, report.labels_acknowledged, _LEARNED_SECONDS)
    if json:
        told = None if found_answers is None else dataclasses.asdict(found_answers)
        measured = None if quality is None else quality.to_dict()
        print_json({**dataclasses.asdict(report), "first_answers": told, "served_quality": measured})
    else:
        _finish(report, json, "published")
        for line in _of_published(report, source, stream, found_answers, quality):
            print(line)
    return _code(report, taken=report.sent > 0 or not report.bad_rows)


def _options(rate: float | None, label_delay: str, limit: int | None, skip_bad_rows: bool) -> PublishOptions:
    """Return the options as the publisher takes them. Raises UsageError if one is invalid."""
    from millstream.scaffold.open_data import label_delay as delay_of
    from producers.publisher import PublishOptions

    events, seconds = delay_of(label_delay)
    try:
        return PublishOptions(
            rate=rate,
            label_delay_events=events,
            label_delay_seconds=seconds,
            limit=limit,
            skip_bad_rows=skip_bad_rows,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def _require_own_events(stream: Stream) -> None:
    """Raise UsageError if the events of a stream are on an external topic."""
    if stream.features_source is not None:
        raise UsageError(
            f"events of {stream.name} come from the external topic {stream.features_source.topic}, to which Millstream "
            "does not write: use `millstream import` for labelled history, `millstream label` for labels"
        )


def import_(
    stream: StreamName,
    file: Annotated[
        str,
        Parameter(name="FILE", help="A .csv, .tsv, .jsonl or .avro file (also .gz, .bz2, .xz, .zst), or river:NAME."),
    ],
    /,
    *,
    strict: Annotated[bool, Parameter(negative="", help="Import nothing if any row is refused.")] = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Write labelled history to the examples log, as a separate lane. The same command continues after a stop.

    The exit code is 1 if no row of the file is an example.

    Example: millstream import phishing history.csv
    """
    from millstream.scaffold.open_data import source_of, weigher
    from producers.imports import ImportOptions, ImportProgress, import_rows

    settings = where.settings()
    found = load_named(stream, settings).stream
    cluster, names = settings.cluster(), settings.names(found)
    rows = source_of(found, file, labelled=True)
    with Bar("rows") as bar:

        def show(at: ImportProgress) -> None:
            looking = f"looking for an earlier run: {at.scanned:,} records" if not at.rows and at.scanned else ""
            bar.show(at.rows, at.total, looking or f"{at.refused:,} refused")

        options = ImportOptions(weigh=weigher(found), strict=strict)
        with filling_in(stream):
            report = import_rows(cluster, names, rows, options, progress=show)
    _finish(report, json, "imported")
    if not json:
        for line in _told(report, file):
            print(line)
    return _code(report, taken=report.lane_examples > 0)


def label(
    stream: StreamName,
    event_id: Annotated[str, Parameter(name="EVENT_ID", help="Id of the event, as `millstream predictions` shows it.")],
    value: Annotated[
        str, Parameter(name="VALUE", help="Label, such as true, 3.5 or a class.", allow_leading_hyphen=True)
    ],
    /,
    *,
    correction: Annotated[bool, Parameter(negative="", help="Replace an earlier label of the event.")] = False,
    weight: Annotated[float, Parameter(help="Weight of the example.")] = 1.0,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Send one label by hand.

    Example: millstream label phishing Phishing-7-9d2c11aa true
    """
    from producers.label import LabelOptions, parse_label, send_label
    from schemas.target import TargetError

    settings = where.settings()
    found = load_named(stream, settings).stream
    try:
        parsed = parse_label(value, found.target)
    except TargetError as error:
        raise UsageError(f"VALUE {value!r}: {error}") from error
    cluster, names = settings.cluster(), settings.names(found)
    options = LabelOptions(correction=correction, weight=weight)
    with filling_in(stream):
        partition = send_label(cluster, names, event_id, parsed, target=found.target, options=options)
    sent = {"stream": names.stream, "event_id": event_id, "value": parsed, "partition": partition}
    if json:
        print_json(sent)
    else:
        print(f"{event_id} is labelled {cell(parsed)} (on {names.topic('labels')}, partition {partition})")
        if not correction:
            print("if it already has a label, that one stays: --correction replaces it")


def _told(report: ImportReport, file: str) -> Iterator[str]:
    """Yield notes on an import that its numbers do not show."""
    if not report.lane_examples and not report.interrupted:
        why = "it has no rows" if not report.lane_refused else f"all its {report.lane_refused:,} rows are refused"
        yield f"nothing of {file} was imported: {why}"
    elif report.already and not report.imported and not report.interrupted:
        yield f"nothing new: all {report.already:,} rows of {file} were imported before, and are not learned again"
    if report.repeated_ids:
        yield (
            f"warning: {report.repeated_ids:,} rows of {file} have the id of an earlier row; each is learned as a "
            "separate example: if that is not intended, remove them from the file, or name other columns as the id"
        )


def _of_published(
    report: PublishReport, source: str, stream: str, answers: FirstAnswers | None, quality: PublishedQuality | None
) -> Iterator[str]:
    """Yield notes on published events that the numbers do not show."""
    if report.repeated_ids:
        yield (
            f"warning: {report.repeated_ids:,} rows of {source} have the id of an earlier row; each is answered, but "
            "only one for each id is learned: if that is not intended, name other columns as the id, or none (id=)"
        )
    if answers is not None:
        yield cell(answers.text(_ANSWERS_SECONDS))
    if quality is not None:
        yield cell(quality.text(stream, _LEARNED_SECONDS))


def _code(report: ImportReport | PublishReport, *, taken: bool) -> int:
    if report.interrupted:
        return INTERRUPTED
    return OK if taken else FAILED


def _finish(report: Any, as_json: bool, done: str) -> None:
    fields = dataclasses.asdict(report)
    if as_json:
        print_json(fields)
        return
    shown = {name.replace("_", " "): value for name, value in fields.items() if value not in ((), 0, False, None)}
    if report.interrupted:
        print(f"stopped before the end; what is {done} stays")
    print_fields(shown)
