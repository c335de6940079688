"""`millstream evaluate`, and `millstream.evaluate` for notebooks: models beside the baselines."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from millstream.cli.progress import Bar
from millstream.cli.report_output import NO_FILES, ReportFiles, show
from millstream.cli.shared_options import (
    HERE,
    Json,
    UsageError,
    Where,
    filling_in,
    full_names,
)

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.evaluation.report import Report
    from millstream.stream.stream import Stream


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(evaluate_command, name="evaluate")


def evaluate_command(
    *models: Annotated[str, Parameter(name="STREAM", help="Paths of stream files, or names of ready-made streams.")],
    on: Annotated[
        str,
        Parameter(
            help="A .csv, .tsv, .jsonl or .avro file (also .gz, .bz2, .xz, .zst), or river:NAME; or a stream, for its "
            "examples log."
        ),
    ],
    label_delay: Annotated[
        str,
        Parameter(help="Delay of labels after their features: a number of events (50) or a time (1h)."),
    ] = "0",
    by: Annotated[str | None, Parameter(help="A feature: shows the metrics by its values, too.")] = None,
    files: ReportFiles = NO_FILES,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Evaluate one or more models on the same rows, beside the baselines, with intervals. A file needs no Kafka.

    Each row is predicted before it is learned. With --label-delay it is predicted when it comes and learned when its
    label comes. The values are those of River's progressive_val_score. Several models are compared with the first.

    Example: millstream evaluate fraud.py other.py --on history.csv --label-delay 50
    """
    if not models:
        raise UsageError("name at least one stream file, as in `millstream evaluate fraud.py --on history.csv`")
    outputs = files.outputs(on, *models)
    from millstream.evaluation import open_rows
    from millstream.processes import gc_tuning

    _ = open_rows  # what is imported by now is not looked through again
    gc_tuning.rest()
    with Bar("rows") as bar:
        report = _evaluate(models, on, label_delay, by, where.settings, bar.show)
    show(report, outputs, as_json=json)


def evaluate(
    *models: str | Path | Stream,
    on: str | Path,
    label_delay: str | int = 0,
    by: str | None = None,
    progress: bool = False,
    bootstrap: str | None = None,
    home: str | Path | None = None,
    prefix: str | None = None,
) -> Report:
    """Evaluate one or more models on the same rows, beside the baselines; for notebooks and scripts.

    Parameters
    ----------
    models
        Stream files, names of ready-made streams, or `Stream` objects. The first one's metrics measure all.
    on
        A file or ``river:NAME``; or a stream file or a stream's name, for its examples log.
    label_delay
        Delay of the labels: a number of events (50) or a time ("1h") by the events' own time.
    by
        A feature: the metrics are computed by its values, too.
    progress
        Whether a bar is shown on standard error.
    bootstrap, home, prefix
        Where the log is, as the command's options; by default from the environment and ``millstream.toml``.

    Examples
    --------
    >>> report = evaluate("phishing", on="river:Phishing", label_delay=50)
    >>> round(report.result("phishing, delayed").metrics["Accuracy"].value, 2)
    0.88

    Raises
    ------
    CannotEvaluate, LoadError, SourceError, InvalidDuration, NoSlices
        If an argument leads nowhere, or no row can be measured.
    NoBroker, MissingTopic
        If there is no such log.
    """

    def settings() -> Settings:
        from millstream.config.settings import DEFAULT_HOME, read_config

        _, file = read_config()

        def given(name: str, value: Any) -> Any:
            return value if value is not None else os.environ.get(f"MILLSTREAM_{name.upper()}") or file.get(name)

        there = Where(
            home=Path(given("home", home) or DEFAULT_HOME),
            bootstrap=given("bootstrap", bootstrap),
            prefix=given("prefix", prefix) or "",
        )
        return there.settings()

    if not progress:
        return _evaluate(models, str(on), label_delay, by, settings, lambda done, total: None)
    with Bar("rows") as bar:
        return _evaluate(models, str(on), label_delay, by, settings, bar.show)


def _evaluate(
    models: tuple[str | Path | Stream, ...],
    on: str,
    label_delay: str | int,
    by: str | None,
    settings: Callable[[], Settings],
    show: Callable[[int, int | None], None],
) -> Report:
    from millstream.evaluation.evaluate import Delay
    from millstream.evaluation.open_rows import FileRows, LogRows, evaluate_on, is_stream, named_models

    delay, named = Delay.parse(label_delay), named_models(models)
    if not is_stream(on):
        rows = FileRows([stream for _, stream in named], on)
        return evaluate_on(named, rows, delay, by, show)
    here = settings()
    cluster = here.cluster()
    with filling_in(on):
        log = LogRows(cluster, full_names(on, here, cluster), len(named))
        return evaluate_on(named, log, delay, by, show)
