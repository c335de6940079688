"""From what a user names to models and rows: stream files, `Stream` objects, files and logs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from millstream.evaluation.evaluate import Delay, Evaluation, Named, Progress
from millstream.evaluation.report import Report
from millstream.evaluation.results import report_of
from millstream.evaluation.rows import FileRows, LogRows, Rows
from millstream.stream.load import load_stream
from millstream.stream.stream import Stream
from producers.river_data import PREFIX
from schemas.topics import NAME

__all__ = ["FileRows", "LogRows", "evaluate_on", "is_stream", "named_models"]

_PY: Final = ".py"


def is_stream(on: str) -> bool:
    """Return whether `on` means a stream, whose log is meant, and not a file.

    >>> is_stream("fraud"), is_stream("streams/fraud.py"), is_stream("river:Phishing"), is_stream("rows.csv")
    (True, True, False, False)
    """
    if on.startswith(PREFIX):
        return False
    path = Path(on)
    return path.suffix == _PY or (NAME.fullmatch(on) is not None and not path.exists())


def named_models(models: Sequence[str | Path | Stream]) -> list[Named]:
    """Load the models, with names that are unique in the report; of a stream with several models, all of them.

    Raises LoadError.
    """
    streams = [each if isinstance(each, Stream) else load_stream(str(each)).stream for each in models]
    plain = [each.name if isinstance(each, Stream) else Path(each).stem for each in models]
    if len(set(plain)) < len(plain):
        plain = [each.name if isinstance(each, Stream) else str(each) for each in models]
    repeated, seen, names = Counter(plain), Counter[str](), []
    for name in plain:
        seen[name] += 1
        names.append(name if repeated[name] == 1 else f"{name} #{seen[name]}")
    return [
        Named(f"{name}:{model}" if model else name, stream.of_model(model))
        for name, stream in zip(names, streams, strict=True)
        for model in ("", *stream.models)
    ]


def evaluate_on(models: Sequence[Named], rows: Rows, delay: Delay | None, by: str | None, progress: Progress) -> Report:
    """Evaluate models on rows, and return the report.

    Raises
    ------
    CannotEvaluate, NoSlices, SourceError
    """
    evaluation = Evaluation(models, rows, delay, by, progress)
    evaluation.run()
    return report_of(evaluation, by)
