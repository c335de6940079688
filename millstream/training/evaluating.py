"""Versions of a stream's models on a range of the examples log: loss and metrics, with intervals.

A version that has learned some of the examples is marked `seen`, and not ranked: it knows their labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from consumers.model.evaluation import Board, default_metrics
from consumers.model.river_model import NO_ANSWER
from consumers.model.version_files import ESTIMATOR_FILE, GRAPH_FILE
from consumers.model.version_loader import VersionLoader
from consumers.referee.losses import Loss
from consumers.trainer.versions import RANGE_BEGIN, REFIT
from millstream.estimators.fitting import CannotTrain, Numbers
from millstream.estimators.trial import Served, answers_of
from millstream.evaluation.intervals import Estimate
from millstream.reading.offset_ranges import Edge, span
from millstream.stream.processor_rules import learning_rules
from millstream.stream.slices import SliceReader, SliceValues, check_texts
from millstream.training.collecting import Collector
from millstream.training.comparing import loss_of, mean_with_interval, rule_of
from millstream.training.examples import Examples
from millstream.training.reading import read_range
from model_store import Manifest, VersionId
from schemas.events import Scalar
from schemas.model_names import version_text

if TYPE_CHECKING:
    from millstream.stream.stream import Stream
    from millstream.version_code.choice import VersionCode
    from runtime.kafka_client.cluster import Cluster
    from runtime.kafka_client.records import Record
    from schemas.topics import Names

SERVED: Final = "as served"
_MOST: Final = 1_000_000
_SLICES: Final = 20


class CannotEvaluateVersions(Exception):  # noqa: N818
    """Nothing can be evaluated there; the message says why, and what would help."""


class Line(msgspec.Struct, frozen=True):
    """Measures of one version, or of what was served.

    Attributes
    ----------
    events
        Number of events that it is measured on.
    seen
        Number of them that it has learned.
    rank
        From 1, by the loss; `None` if it has seen some.
    behind
        Its loss minus that of the first in rank, on the same events; `None` for that one.
    slices
        Loss by slice.
    """

    version: str
    events: int
    seen: int
    rank: int | None
    loss: Estimate
    behind: Estimate | None
    metrics: dict[str, float | None]
    slices: dict[str, Estimate]


class VersionsReport(msgspec.Struct, frozen=True):
    """Versions on the same range of the log; `lines` has the ranked ones first, in their order."""

    topic: str
    begin: int
    end: int
    by: str
    left_out: dict[str, int]
    slices: dict[str, int]
    lines: list[Line]


def evaluate_versions(
    code: VersionCode,
    cluster: Cluster,
    names: Names,
    wanted: Sequence[VersionId],
    edges: tuple[Edge, Edge],
    by: str | None,
    progress: Callable[[int, int], None],
) -> VersionsReport:
    """Evaluate versions on a range of the log. Each example counts with its last label.

    Parameters
    ----------
    by
        Name of a slice of the stream file, or of a feature; `None` makes no slices.

    Raises
    ------
    CannotEvaluateVersions
        If the range has no labelled example.
    NotFound, StoreError, ModelError
        If a version is not there, or cannot be loaded.
    """
    stream, topic = code.loaded.stream, names.topic("examples")
    log = cluster.topic_info(topic).get(topic)
    if log is None:
        raise CannotEvaluateVersions(f"there is no topic {topic}: create it with `millstream topics create STREAM`")
    with closing(cluster.consumer()) as consumer:
        found = span(consumer, topic, 1, *edges)
    begin, end = found.begin[0], found.end[0]
    try:
        records = read_range(cluster, names, log.id, begin, end)
        examples, left_out = _read(stream, by, records, end - begin, progress)
    except CannotTrain as error:
        raise CannotEvaluateVersions(str(error)) from error
    if not len(examples):
        raise CannotEvaluateVersions(f"{topic} has no labelled example from offset {begin} to {end}")
    manifests = [code.store.manifest(version) for version in wanted]
    loader = VersionLoader(code.store, stream.task, code.to_answer)
    measuring = _Measuring(stream, examples)
    answered: dict[str, tuple[Sequence[Served | None], Numbers]] = {}
    for manifest in manifests:
        version = manifest.version
        face = loader.load(manifest, None).face
        answered[version_text(version.model, version.epoch, version.examples)] = (
            answers_of(face, [examples.features[each] for each in measuring.order]),
            seen(manifest, examples, same_log=code.store.is_log(manifest, log.id))[measuring.order],
        )
    lines = measuring.lines(answered)
    return VersionsReport(topic, begin, end, measuring.rule.kind, left_out, measuring.sizes(), lines)


def seen(manifest: Manifest, examples: Examples, *, same_log: bool) -> Numbers:
    """Return for each example whether a version has learned it."""
    offsets = np.array(examples.offsets)
    graph_alone = GRAPH_FILE in manifest.files and ESTIMATOR_FILE not in manifest.files
    if not same_log or graph_alone:
        return np.zeros(len(offsets), dtype=bool)
    learned = (offsets >= int(manifest.extra.get(RANGE_BEGIN, 0))) & (offsets < manifest.offset)
    if ESTIMATOR_FILE in manifest.files and not manifest.extra.get(REFIT) and manifest.labels_to_ms is not None:
        # The newest part of its range was the test: it came after all labels that the version has learned.
        learned &= np.array(examples.labelled) <= manifest.labels_to_ms
    return learned


def _read(
    stream: Stream,
    by: str | None,
    records: Iterable[Sequence[Record]],
    count: int,
    progress: Callable[[int, int], None],
) -> tuple[Examples, dict[str, int]]:
    slices = None
    if by is not None:
        declared = {by: stream.slices.get(by, by)}
        check_texts(declared, stream.contract.private)
        slices = SliceReader(declared)
    # The contract of the whole stream: each version is given the features that it sees.
    collector = Collector(replace(learning_rules(stream), contract=stream.contract), _MOST, 0, slices)
    read = 0
    for several in records:
        collector.take(several)
        read += len(several)
        progress(read, count)
    return collector.examples, {name: number for name, number in collector.left_out.items() if number}


class _Measuring:
    """Measures answers to the same examples, in the order of their predictions."""

    def __init__(self, stream: Stream, examples: Examples) -> None:
        self.order: list[int] = examples.in_time().tolist()
        self.rule = rule_of(stream)
        self._loss = Loss(self.rule)
        make = learning_rules(stream).make_metrics
        self._metrics = (lambda: default_metrics(stream.task)) if make is None else make
        self._task = stream.task
        self._truths, _ = examples.known_at(self.order, None)
        self._served = [examples.served[each] for each in self.order]
        self._times = [(examples.predicted[each], examples.labelled[each]) for each in self.order]
        self._slices = self._sliced(examples)

    def sizes(self) -> dict[str, int]:
        """Return the number of events of each slice."""
        return {name: len(places) for name, places in self._slices.items()}

    def lines(self, answered: Mapping[str, tuple[Sequence[Served | None], Numbers]]) -> list[Line]:
        """Return a line for each version, by name, and one for what was served."""
        losses = {name: self._losses(answers) for name, (answers, _) in answered.items()}
        fair = [name for name, (_, known) in answered.items() if not known.any()]
        ranked = sorted(fair, key=lambda name: (float(losses[name].mean()), name))
        lines = []
        for name in (*ranked, *(name for name in answered if name not in ranked)):
            answers, known = answered[name]
            first = ranked[0] if ranked else name
            behind = None if name == first else mean_with_interval(losses[name] - losses[first])
            rank = ranked.index(name) + 1 if name in ranked else None
            lines.append(self._line(name, answers, losses[name], int(known.sum()), rank, behind))
        were = np.array([each for each, answer in enumerate(self._served) if answer is not None], dtype=np.intp)
        if len(were):
            lines.append(self._line(SERVED, self._served, self._losses(self._served), 0, None, None, were))
        return lines

    def _line(
        self,
        name: str,
        answers: Sequence[Served | None],
        losses: Numbers,
        known: int,
        rank: int | None,
        behind: Estimate | None,
        chosen: Numbers | None = None,
    ) -> Line:
        places = np.arange(len(losses)) if chosen is None else chosen
        slices = {key: mean_with_interval(losses[np.intersect1d(each, places)]) for key, each in self._slices.items()}
        metrics = self._metrics_of(answers, places)
        return Line(name, len(places), known, rank, mean_with_interval(losses[places]), behind, metrics, slices)

    def _losses(self, answers: Sequence[Served | None]) -> Numbers:
        pairs: Iterable[tuple[Scalar, Served | None]] = zip(self._truths, answers, strict=True)
        return np.array([loss_of(self._loss, truth, answer) for truth, answer in pairs])

    def _metrics_of(self, answers: Sequence[Served | None], places: Numbers) -> dict[str, float | None]:
        board = Board(self._task, self._metrics, window=1)
        for place in places.tolist():
            board.add(self._truths[place], NO_ANSWER, answers[place] or (None, None), self._times[place])
        return board.tallies()["served"].values()

    def _sliced(self, examples: Examples) -> dict[str, Numbers]:
        values, found = SliceValues(), dict[str, list[int]]()
        for place, index in enumerate(self.order):
            for name, value in examples.slices[index].items():
                found.setdefault(f"{name}: {values.kept(name, value)}", []).append(place)
        largest = sorted(found, key=lambda name: (-len(found[name]), name))[:_SLICES]
        return {name: np.array(found[name]) for name in largest}


def draw(report: VersionsReport) -> bytes:
    """Return a PNG picture of each version's loss with its interval."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 1.2 + 0.4 * len(report.lines)), dpi=120, layout="constrained")
    axes: Any = figure.subplots()
    for place, line in enumerate(reversed(report.lines)):
        loss = line.loss
        if loss.value is None:
            continue
        low, high = (loss.value if each is None else each for each in (loss.low, loss.high))
        axes.errorbar(
            loss.value,
            place,
            xerr=[[loss.value - low], [high - loss.value]],
            fmt="o" if line.rank else "x",
            capsize=3,
            color="tab:blue" if line.rank else "tab:grey",
        )
    axes.set_yticks(range(len(report.lines)), [_named(line) for line in reversed(report.lines)])
    axes.set_xlabel(f"mean loss ({report.by}) on {report.topic}, offsets {report.begin:,} to {report.end:,}")
    axes.grid(alpha=0.25, axis="x")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _named(line: Line) -> str:
    return f"{line.version} (seen)" if line.seen else line.version
