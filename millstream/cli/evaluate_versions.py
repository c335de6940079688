"""`millstream models evaluate`: any versions of a stream on a range of its examples log."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli.models import app, store_of
from millstream.cli.progress import Bar
from millstream.cli.range_options import ALL, Range
from millstream.cli.report_output import NO_FILES, ReportFiles, show
from millstream.cli.shared_options import HERE, CodePolicy, Json, StreamName, UsageError, Where, filling_in, load_named
from millstream.cli.version_choice import version_meant

if TYPE_CHECKING:
    from consumers.model.river_model import RiverModel
    from millstream.replay.past_versions import PastVersions
    from model_store import ModelStore, VersionId
    from schemas.topics import Names


@app.command
def evaluate(
    stream: StreamName,
    versions: Annotated[
        tuple[str, ...],
        Parameter(
            name="VERSION",
            help="Versions, EPOCH/EXAMPLES or MODEL:EPOCH/EXAMPLES, or MODEL for its newest [default: the newest of "
            "each model].",
        ),
    ] = (),
    /,
    *,
    range_: Range = ALL,
    by: Annotated[
        str | None, Parameter(help="Also by a slice of the stream file, or by the values of a feature.")
    ] = None,
    files: ReportFiles = NO_FILES,
    code: CodePolicy = "version",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Evaluate versions on a range of the examples log, beside what was served then, with intervals.

    Versions that learn from each event and versions that jobs train are asked for the same labelled examples. One that
    has learned an example of the range is marked `seen` and not ranked. A label counts with its last correction in the
    range, and an event without an answer costs the most that the loss can be.

    Example: millstream models evaluate fraud gbdt:4/81200 1/90000 --from 6h --by country
    """
    outputs = files.outputs(stream)
    begin, end = range_.edges()
    settings = where.settings()
    from millstream.evaluation.rows import LogRows
    from millstream.evaluation.versions.evaluating import Evaluating
    from millstream.reading.offset_ranges import NoSpan
    from millstream.replay.past_versions import PastVersions

    loaded = load_named(stream, settings, code)
    names, store = settings.names(loaded.stream), store_of(settings)
    wanted = [version_meant(store, names, each) for each in versions] or _newest(store, names)
    cluster = settings.cluster()
    with (
        filling_in(stream),
        PastVersions(loaded, cluster, names, store, lambda line: print(line, file=sys.stderr), code) as past,
    ):
        try:
            log = LogRows(cluster, names, 1, begin, end)
        except NoSpan as error:
            raise UsageError(str(error)) from error
        topic_id = cluster.topic_info(log.name)[log.name].id
        work = Evaluating(loaded.stream, store, log, topic_id, wanted, by)
        with Bar("offsets") as bar:
            report = work.run(lambda version: _loaded(past, store, version), bar.show)
    show(report, outputs, as_json=json)


def _loaded(past: PastVersions, store: ModelStore, version: VersionId) -> RiverModel:
    from millstream.evaluation.versions.evaluating import CannotEvaluateVersions
    from millstream.replay.past_versions import CannotRemake
    from model_store import NotFound

    there = store.versions(version.model, version.epoch)
    if not any(each <= version for each in there):
        raise NotFound(f"there is no version {version}: `millstream models list` shows those that there are")
    try:
        return past.get(version).model
    except CannotRemake as error:
        raise CannotEvaluateVersions(f"{error}; or leave {version} out") from error


def _newest(store: ModelStore, names: Names) -> list[VersionId]:
    """Return the newest version of each model that has one."""
    found = []
    for model in store.models(names.stream):
        with suppress(IndexError):
            found.append(store.versions(model)[-1])
    return found
