"""A training: from the examples of a range to a version's files, with its test on the newest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from consumers.model.checkpoints import cpu_name
from consumers.model.fingerprint import Probes, fingerprint
from consumers.model.graph_conversion import CannotConvert, tested_graph
from consumers.model.river_model import ModelError, RiverModel
from consumers.model.row_form import RowForm, class_array
from consumers.trainer.training_messages import ESTIMATOR, GRAPH, TrainingResult
from millstream.estimators.declared_form import form_of
from millstream.estimators.fitting import CannotTrain, Numbers, Recipe, Table, fit, unseeded, weight_name
from millstream.estimators.trial import depends_on_company, face_of, try_fit
from millstream.stream.batch import BatchModel
from millstream.stream.stream import Stream
from millstream.training.asking_now import AskNow
from millstream.training.cluster import on_cluster
from millstream.training.collecting import Collector
from millstream.training.comparing import Comparison, compare
from millstream.training.examples import Examples
from millstream.training.limits import Memory
from millstream.training.searching import Found, Search, as_declared, on_cores, written
from millstream.training.splitting import Split, newest_apart
from millstream.training.tables import Tables
from millstream.training.warm_start import Parent, go_on
from model_store.errors import StoreError
from model_store.estimators import dumps_estimator, loads_estimator
from runtime.failpoints import failpoint
from schemas.events import Features, Scalar
from schemas.label_spelling import shown

_PROBE_EVENTS: Final = 8
_PROBE_BYTES: Final = 16_384
_LARGE_PROBE_BYTES: Final = 4 << 20  # of a single event, which is as large as Kafka takes it
Progress = Callable[[int, int, str], None]
_read = failpoint("training.read")
_tried = failpoint("training.tried")
_searched = failpoint("training.searched")
_fitted = failpoint("training.fitted")
_saved = failpoint("training.saved")
_tested = failpoint("training.tested")


@dataclass(frozen=True)
class Task:
    """What to train.

    Attributes
    ----------
    stream
        The stream, with the batch model as its model.
    folder
        Where the estimator is written.
    parameters
        Chosen before, instead of a search.
    parent
        The version to go on from, if there is one.
    ask_now
        Asks what serves about examples without a served answer; without it they are not compared.
    """

    stream: Stream
    folder: Path
    parameters: Mapping[str, Any] | None = None
    parent: Parent | None = None
    ask_now: AskNow | None = None

    @property
    def model(self) -> BatchModel:
        """The declaration of the batch model."""
        assert isinstance(self.stream.model, BatchModel)  # noqa: S101 - the stream was made with it
        return self.stream.model


def train(task: Task, collected: Collector, memory: Memory | None, progress: Progress) -> TrainingResult:
    """Train, test, and write the estimator to the folder.

    Parameters
    ----------
    collected
        The examples of the range, and what was left out of it.
    memory
        `None` sets no limit.

    Raises
    ------
    CannotTrain
        If it would fail again; the message says why, and the way out.
    """
    return _Training(task, collected, memory, progress).run()


class _Training:
    def __init__(self, task: Task, collected: Collector, memory: Memory | None, progress: Progress) -> None:
        self._task = task
        self._collected = collected
        self._memory = memory
        self._model = task.model
        self._examples: Examples = collected.examples
        self._progress = progress
        learned = None if task.parent is None else task.parent.learned
        try:
            self._split: Split = newest_apart(self._examples, self._model.test, learned)
        except CannotTrain as error:
            left_out = ", ".join(f"{reason} {count}" for reason, count in collected.left_out.most_common())
            raise CannotTrain(f"{error}; left out, by reason: {left_out}" if left_out else str(error)) from error
        self._notes: list[str] = []

    def run(self) -> TrainingResult:
        split, model = self._split, self._model
        _read()
        classes = self._classes()
        tables = self._tables(split.train, classes)
        table = tables.table(split.train, split.moment)
        recipe = Recipe(model.make, {}, model.seed)
        self._note_parts(recipe, weighted=table.weighted)
        self._progress(0, 1, "trial")
        newest = [self._examples.features[each] for each in split.test.tolist()]
        tried = try_fit(recipe, table, self._task.stream.task, tables.form, newest)
        if self._memory is not None:
            self._memory.check(f"a fit on {len(table)} rows", tried.bytes_a_row * len(table))
        _tried()
        found = self._chosen(tables)
        _searched()
        self._progress(0, 1, f"fit on {len(table)} rows")
        recipe = replace(recipe, parameters=found.parameters)
        estimator = self._fitted(recipe, table)
        _fitted()
        estimator, form = self._saved(estimator, tables.form, newest)
        _saved()
        self._progress(0, 1, f"test on {len(split.test)} rows")
        comparison = compare(
            self._task.stream, self._examples, split.test, self._face(estimator, form), self._task.ask_now
        )
        _tested()
        trained = split.train
        if model.final == "refit":
            estimator, form, trained = self._refit(recipe, classes)
        return self._result(estimator, form, trained, comparison, found, tried.tolerance)

    def _chosen(self, tables: Tables) -> Found:
        """Return the parameters to train with: those that were asked for, else those that a search finds."""
        model, given = self._model, self._task.parameters
        if given is not None:
            return Found(as_declared(given, model), [])
        if not model.search or self._task.parent is not None:
            return Found({}, [])
        runs = on_cores(model.cores) if model.cluster is None else on_cluster(model.cluster)
        search = Search(model, self._examples, self._split, tables, runs)
        return search.run(self._progress)

    def _fitted(self, recipe: Recipe, table: Table) -> Any:
        parent = self._task.parent
        return fit(recipe.new(), table) if parent is None else go_on(parent, recipe, table)

    # --- before the fit ------------------------------------------------------------------------------

    def _classes(self) -> tuple[Scalar, ...]:
        """Return the classes as labels spell them, if an estimator has to know them by their texts."""
        examples, split, task = self._examples, self._split, self._task.stream.task
        if task == "regression":
            return ()
        known, _ = examples.known_at(split.train.tolist(), split.moment)
        met = dict.fromkeys(known)
        if len(met) < 2:
            only = ", ".join(map(shown, met))
            raise CannotTrain(
                f"all {len(known)} examples to train on have the label {only}: a classifier needs two classes; give "
                "the job a longer range (window=)"
            )
        later, _ = examples.known_at(range(len(examples)), None)
        return class_array([*known, *later], task)[1]

    def _tables(self, indexes: Numbers, classes: tuple[Scalar, ...]) -> Tables:
        several = [self._examples.features[index] for index in indexes.tolist()]
        parent = self._task.parent
        form = form_of(self._task.stream, several, classes) if parent is None else parent.form
        try:
            return Tables(self._examples, indexes, self._task.stream.task, form)
        except (ModelError, TypeError, ValueError, OverflowError) as error:
            raise CannotTrain(f"the rows do not have one form: {error}") from error

    def _note_parts(self, recipe: Recipe, *, weighted: bool) -> None:
        estimator = self._model.make()
        if parts := unseeded(estimator):
            self._notes.append(f"parts without a seed were given seed={self._model.seed}: {', '.join(parts)}")
        if weighted and weight_name(recipe.new()) is None:
            self._notes.append("the labels have weights, and the estimator takes none: they were not used")

    # --- after it ------------------------------------------------------------------------------------

    def _saved(self, estimator: Any, form: RowForm, asked: list[Features]) -> tuple[Any, RowForm]:
        """Write the estimator; return it as it is read again, and its form."""
        task, stream = self._task, self._task.stream
        try:
            data = dumps_estimator(estimator)
            (task.folder / ESTIMATOR).write_bytes(data)
            loaded = loads_estimator(data, cap_bytes=max(1 << 32, 16 * len(data)))
        except StoreError as error:
            raise CannotTrain(f"the fitted estimator cannot be a version: {error}") from error
        if self._model.onnx:
            loaded = self._graph(loaded, form, asked)
        if depends_on_company(loaded, stream.task, form, asked):
            form = form.asked_alone()
        return loaded, form

    def _graph(self, estimator: Any, form: RowForm, asked: list[Features]) -> Any:
        """Write an estimator as a graph, and return it as it answers with it; it must answer as the estimator does."""
        self._progress(0, 1, "converted to a graph")
        try:
            graph, answering = tested_graph(estimator, self._task.stream.task, form, asked)
        except (CannotConvert, StoreError, ModelError) as error:
            raise CannotTrain(f"onnx=True: {error}") from error
        (self._task.folder / GRAPH).write_bytes(graph)
        return answering

    def _face(self, estimator: Any, form: RowForm) -> RiverModel:
        return face_of(estimator, self._task.stream.task, form)

    def _refit(self, recipe: Recipe, classes: tuple[Scalar, ...]) -> tuple[Any, RowForm, Numbers]:
        """Fit again on all examples, each with its last label."""
        ordered = self._examples.in_time()
        self._progress(0, 1, f"fit again on {len(ordered)} rows")
        tables = self._tables(ordered, classes)
        estimator = self._fitted(recipe, tables.table(ordered, None))
        newest = [self._examples.features[each] for each in self._split.test.tolist()]
        return (*self._saved(estimator, tables.form, newest), ordered)

    def _result(
        self,
        estimator: Any,
        form: RowForm,
        trained: Numbers,
        comparison: Comparison,
        found: Found,
        tolerance: float,
    ) -> TrainingResult:
        collected, examples, model = self._collected, self._examples, self._model
        probe = self._probe(trained)
        labelled = [examples.labelled[each] for each in trained.tolist()]
        left_out = dict(collected.left_out)
        if model.final != "refit":
            left_out |= {"tested": len(self._split.test), "labelled too late": self._split.late}
        return TrainingResult(
            examples=len(trained),
            chain=collected.chain,
            skipped=collected.skipped,
            left_out={reason: count for reason, count in left_out.items() if count},
            parameters={name: written(value) for name, value in found.parameters.items()},
            table=found.table,
            seed=model.seed,
            threads=1,
            cpu=cpu_name(),
            tolerance=tolerance,
            alone=form.alone,
            probe=probe,
            probed=self._probed(estimator, form, probe),
            comparison=msgspec.to_builtins(comparison),
            better=comparison.better(model.at_least),
            labels_from_ms=min(labelled),
            labels_to_ms=max(labelled),
            form=form.as_json(),
            refit=model.final == "refit",
            notes=self._notes,
        )

    def _probe(self, trained: Numbers) -> list[dict[str, Any]]:
        probes = Probes()
        # An estimator is never given bytes.
        probes.add_several([_without_bytes(self._examples.features[each]) for each in trained.tolist()])
        newest = probes.newest(_PROBE_EVENTS, _PROBE_BYTES) or probes.newest(1, _LARGE_PROBE_BYTES)
        # As a manifest writes them.
        return [dict(sorted(each.items())) for each in newest]

    def _probed(self, estimator: Any, form: RowForm, probe: list[dict[str, Any]]) -> str:
        try:
            return fingerprint(self._face(estimator, form), probe)
        except ModelError as error:
            raise CannotTrain(f"the estimator does not answer an event that it was trained on: {error}") from error


def _without_bytes(features: Features) -> Features:
    return {name: value for name, value in features.items() if not isinstance(value, bytes)}
