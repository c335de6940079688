"""Evaluation of versions: from their names and a range of the log to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from consumers.model.evaluation import default_metrics
from consumers.model.quality import BASELINES
from consumers.model.river_model import RiverModel
from consumers.referee.losses import Loss
from millstream.estimators.trial import answers_of
from millstream.evaluation.compare.report import LOSS, LossUsed
from millstream.evaluation.findings import Refused, Slice
from millstream.evaluation.lines import Line, differences
from millstream.evaluation.rows import LogRows, Refusals, Row
from millstream.evaluation.sliced import Reading, slices_of
from millstream.evaluation.slices import LOOKED_AT, MISSING, Slices
from millstream.evaluation.versions.columns import FAILED, Column
from millstream.evaluation.versions.learned import Learned
from millstream.evaluation.versions.report import EvaluatedVersion, VersionReport
from millstream.stream.processor_rules import learning_rules
from millstream.stream.promotion_rule import loss_rule
from millstream.stream.slices import SliceReader, SliceValues
from millstream.stream.stream import Stream
from model_store import ModelStore, NotFound, VersionId
from schemas.contract import ContractError
from schemas.events import Features, LabelValue, Scalar
from schemas.target import TargetError

AS_SERVED: Final = "as served"
_TOGETHER: Final = 500
_NO_SLICE: Final = "(no slice)"
Progress = Callable[[int, int | None], None]
Key = Callable[[Row, Features], str]
Load = Callable[[VersionId], RiverModel]


class CannotEvaluateVersions(Exception):  # noqa: N818
    """Nothing can be measured; the message says why, and what would help."""


class _Example(NamedTuple):
    row: Row
    features: Features
    truth: Scalar
    key: str | None

    @property
    def label_ms(self) -> int:
        """Broker's time of the label."""
        return self.row.came_ms if self.row.times is None else self.row.times[1]


class Evaluating:
    """One evaluation of versions on a range of a stream's examples log.

    An example counts with its last label in the range.

    Parameters
    ----------
    stream
        With its own model.
    topic_id
        Of the examples log.
    by
        A slice of the stream file, or a feature.

    Raises
    ------
    CannotEvaluateVersions
        If the range is empty, or no version is given.
    """

    def __init__(
        self,
        stream: Stream,
        store: ModelStore,
        log: LogRows,
        topic_id: str,
        versions: Sequence[VersionId],
        by: str | None,
    ) -> None:
        if not versions:
            raise CannotEvaluateVersions(f"{stream.name} has no versions: a learner or a training makes the first")
        if log.begin >= log.end:
            raise CannotEvaluateVersions(
                f"{log.name} has no examples from {log.said}: name another range with --from and --to"
            )
        self._stream = stream
        self._store = store
        self._log = log
        self._by = by
        # In this order a version that retention has deleted is learned again from the one before it.
        self._versions = sorted(dict.fromkeys(versions))
        self._learned = {each: Learned(store, each, topic_id) for each in self._versions}
        rule = loss_rule(stream)
        self._loss = None if rule is None else Loss(rule)
        self._loss_used = None if rule is None else LossUsed(rule.kind, rule.bound, 0.05)
        self._refused = Refusals()
        self._corrected: dict[tuple[str, int], LabelValue] = {}
        self._seen = dict.fromkeys(self._versions, 0)
        self._tested = dict.fromkeys(self._versions, 0)
        self._seen_to = -1
        self._times: tuple[int, int] | None = None
        self._last = -1
        self._served = 0
        self._columns = {each: self._column() for each in self._versions}
        self._beside = {each: self._column() for each in self._versions}  # only where something was served
        self._as_served = self._column()

    def run(self, load: Load, show: Progress) -> VersionReport:
        """Return the report.

        Parameters
        ----------
        load
            Returns a version, ready to answer.

        Raises
        ------
        CannotEvaluateVersions
            If no example of the range can be measured.
        NoSlices
            If there is neither such a slice nor such a feature.
        """
        # Before anything is read: what cannot be loaded is said at once.
        faces = {version: load(version) for version in self._versions}
        key = self._look()
        several: list[_Example] = []
        for example in self._examples(key):
            several.append(example)
            if len(several) == _TOGETHER:
                self._measure(several, faces)
                show(example.row.number - self._log.begin, self._log.end - self._log.begin)
                several = []
        self._measure(several, faces)
        if self._times is None:
            raise CannotEvaluateVersions(
                f"{self._log.name} has no labelled example from {self._log.said} that can be measured"
                f"{self._first_refusal()}"
            )
        return self._report(self._times)

    # --- reading -------------------------------------------------------------------------------------

    def _look(self) -> Key | None:
        """Read the range once for corrections, which come after what they correct; return what slices it."""
        first: list[Features] = []
        for (row,) in self._log.read(Refusals()):
            if row.correction:
                if row.label is not None and row.times is not None:
                    self._corrected[row.event_id, row.times[0]] = row.label
            elif len(first) < LOOKED_AT:
                first.append(row.features)
        by = self._by
        if by is None:
            return None
        if by in self._stream.slices:
            read, values = SliceReader({by: self._stream.slices[by]}), SliceValues()

            def sliced(row: Row, features: Features) -> str:
                value = read(row.features).get(by)
                return MISSING if value is None else values.kept(by, value)

            return sliced
        slices = Slices(by, first)
        return lambda row, features: slices.key(row.features)

    def _examples(self, key: Key | None) -> Iterator[_Example]:
        contract, target = self._stream.contract, self._stream.target
        for (row,) in self._log.read(self._refused):
            if row.correction or row.label is None:
                continue
            label = row.label if row.times is None else self._corrected.get((row.event_id, row.times[0]), row.label)
            try:
                features, truth = contract.apply(row.features), target.of_log(label)
            except (ContractError, TargetError) as error:
                self._refused.add(f"offset {row.number}", str(error))
                continue
            yield _Example(row, features, truth, None if key is None else key(row, features))

    # --- measuring -----------------------------------------------------------------------------------

    def _column(self) -> Column:
        return Column(self._stream.task, self._metrics, self._loss, sliced=self._by is not None)

    def _metrics(self) -> list[Any]:
        make = learning_rules(self._stream).make_metrics
        return list(default_metrics(self._stream.task) if make is None else make())

    def _measure(self, several: Sequence[_Example], faces: Mapping[VersionId, RiverModel]) -> None:
        if not several:
            return
        for version, face in faces.items():
            learned = self._learned[version]
            answers = answers_of(face, [each.features for each in several])
            for (row, _, truth, key), found in zip(several, answers, strict=True):
                said = FAILED if found is None else found
                self._columns[version].add(truth, said, row.times, key)
                self._beside[version].add(truth, None if row.served is None else said, row.times, key)
                place = (row.number, *(row.times or (row.came_ms, row.came_ms)))
                if learned.holds(*place):
                    self._seen[version] += 1
                    self._seen_to = max(self._seen_to, row.number)
                elif learned.tested(*place):
                    self._tested[version] += 1
        for row, _, truth, key in several:
            self._as_served.add(truth, row.served, row.times, key)
            self._served += row.served is not None
        self._last = several[-1].row.number
        begin = several[0].label_ms if self._times is None else self._times[0]
        self._times = (begin, several[-1].label_ms)

    def _first_refusal(self) -> str:
        return "".join(f"; {where}: {reason}" for where, reason in list(self._refused.first.items())[:1])

    # --- report --------------------------------------------------------------------------------------

    def _report(self, times: tuple[int, int]) -> VersionReport:
        for column in (*self._columns.values(), *self._beside.values(), self._as_served):
            column.finish()
        first = self._columns[self._versions[0]]
        lines = {each: column.line(str(each), "model") for each, column in self._columns.items()}
        bigger = {type(metric).__name__: bool(metric.bigger_is_better) for metric in self._metrics()}
        if self._loss is not None:
            bigger = {LOSS: False} | bigger
        ranked_by = next(iter(bigger))
        ranks = self._ranks(lines, ranked_by, bigger=bigger[ranked_by])
        order = sorted(self._versions, key=lambda each: _place(lines[each], ranks[each], ranked_by, bigger[ranked_by]))
        live = [self._as_served.line(AS_SERVED, "live")] if self._served else []
        baselines = [
            first.line(BASELINES[source], "baseline", source) for source in first.board.sources if source in BASELINES
        ]
        shown = [*(lines[each] for each in order), *live, *(line for line in baselines if line.counted)]
        return VersionReport(
            on=self._log.name,
            rows=len(first) + self._refused.count,
            measured=len(first),
            label_delay=None,
            by=self._by,
            bigger_is_better=bigger,
            results=[line.result for line in shown],
            comparisons=self._against_served([each for each in order if ranks[each] is not None], live, bigger),
            curves=[line.curve(first.blocks.ends) for line in shown],
            slices=self._slices(shown, first),
            refused=[Refused(None, self._refused.count, self._refused.first)] if self._refused.count else [],
            blocks=(blocks := len(lines[order[0]].left_out)),
            block_rows=round(len(first) / blocks),
            notes=self._notes(),
            versions=[self._evaluated(each, ranks[each]) for each in order],
            begin=self._log.begin,
            end=self._log.end,
            from_ms=times[0],
            to_ms=times[1],
            loss=self._loss_used,
            ranked_by=ranked_by,
            unseen_from=self._seen_to + 1 if 0 <= self._seen_to < self._last else None,
            served=self._served,
        )

    def _ranks(self, lines: Mapping[VersionId, Line], metric: str, *, bigger: bool) -> dict[VersionId, int | None]:
        ranked = [each for each in self._versions if not self._seen[each]]
        found: dict[VersionId, int | None] = dict.fromkeys(self._versions)
        for each in ranked:
            pairs = [(lines[other], lines[each]) for other in ranked if other is not each]
            better = [pair.verdicts[metric] == "better" for pair in differences(pairs, {metric: bigger})]
            found[each] = 1 + sum(better)
        return found

    def _against_served(
        self, ranked: Sequence[VersionId], live: Sequence[Line], bigger: Mapping[str, bool]
    ) -> list[Any]:
        """Return how the ranked versions differ from what was served, on the examples that were served."""
        return differences(
            [(self._beside[each].line(str(each), "model"), line) for each in ranked for line in live], bigger
        )

    def _slices(self, lines: Sequence[Line], first: Column) -> list[Slice]:
        by_name = {str(each): column for each, column in self._columns.items()} | {AS_SERVED: self._as_served}
        source_of = {BASELINES[source]: source for source in first.board.sources if source in BASELINES}
        readings = []
        for line in lines:
            column = by_name.get(line.name, first)
            if column.sliced is not None:
                source = first.board.sources.index(source_of.get(line.name, "served"))
                readings.append(Reading(line.name, column.sliced, source))
        if self._loss is None or not readings:
            return slices_of(readings)
        losses = {name: column.loss_by_slice() for name, column in by_name.items()}
        return [
            Slice(
                each.value,
                each.counted,
                {name: {LOSS: losses.get(name, {}).get(each.value)} | values for name, values in each.metrics.items()},
            )
            for each in slices_of(readings)
        ]

    def _evaluated(self, version: VersionId, rank: int | None) -> EvaluatedVersion:
        try:
            made = self._store.manifest(version).created_at_ms
        except NotFound:
            made = None
        return EvaluatedVersion(str(version), made, self._seen[version], self._tested[version], rank)

    def _notes(self) -> list[str]:
        notes = []
        if self._corrected:
            notes.append(f"{len(self._corrected):,} examples count with their corrected label")
        if self._loss is not None and self._loss.failed:
            notes.append(f"the loss function failed {self._loss.failed:,} times; each cost the bound")
        return notes


def _place(line: Line, rank: int | None, metric: str, bigger: bool) -> tuple[bool, float]:
    value = line.metrics[metric].value
    if value is None:
        return (True, float("inf"))
    return (rank is None, -value if bigger else value)
