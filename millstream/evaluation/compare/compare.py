"""Comparison of a stream's models, from its names to a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from consumers.model.evaluation import default_metrics
from millstream.evaluation.compare.facets import By, facets_of
from millstream.evaluation.compare.log import ComparisonLog, Period, Progress
from millstream.evaluation.compare.measure import Pass, Settings, measured
from millstream.evaluation.compare.progressive import progressive
from millstream.evaluation.compare.report import ModelComparison, ProgressiveComparison
from millstream.evaluation.compare.results import Results
from millstream.stream.load import LoadedStream
from millstream.stream.processor_rules import learning_rules
from millstream.stream.promotion_rule import comparing_rule
from model_store import ModelStore
from runtime.kafka_client.cluster import Cluster, MissingTopic
from schemas.model_names import MAIN
from schemas.topics import Names


class CannotCompare(Exception):  # noqa: N818
    """These models cannot be compared; the message says why, and what would help."""


class Comparing:
    """One comparison of a stream's models.

    Parameters
    ----------
    wanted
        Names of the models to compare; empty for all. The one that serves is always compared.
    by
        Facet by which the events are sliced, too.

    Raises
    ------
    CannotCompare
        If the stream has no such models or slices.
    """

    def __init__(self, loaded: LoadedStream, wanted: Sequence[str], period: Period, by: By | None) -> None:
        self._loaded = loaded
        self._stream = loaded.stream
        self._period = period
        self._by = by
        self._rule = comparing_rule(self._stream)
        self._names = [MAIN, *self._stream.named]
        for name in wanted:
            if name not in self._names:
                raise CannotCompare(
                    f"{self._stream.name} has no model {name!r}; its models are {', '.join(self._names)}"
                )
        if len(self._names) == 1:
            raise CannotCompare(
                f"{self._stream.name} has one model: add others to its file, such as "
                "models={'forest': Model(lambda: ...)}"
            )
        if by == "slice" and not self._stream.slices:
            raise CannotCompare(
                f"{self._stream.name} has no slices: add them to its file, such as slices={{'large': 'amount > 1000'}}"
            )
        self._wanted = [name for name in self._names if name in wanted or not wanted]

    def run(
        self, cluster: Cluster, names: Names, store: ModelStore, show: Progress
    ) -> ModelComparison | ProgressiveComparison:
        """Return the report: as served, or by the learners' progressive metrics while there is nothing as served.

        Raises
        ------
        CannotCompare
            If there are comparisons, but none of the period and of these models.
        """
        try:
            log = ComparisonLog(cluster, names, self._period)
        except MissingTopic as error:
            return self._progressive(store, str(error))
        found = self._measured(log, show)
        if found.measured:
            return Results(found, log.predicted(), self._by).report(log.name)
        if found.counts.missing:
            asked = "; ".join(f"{', '.join(who)}: {count:,}" for who, count in found.counts.missing.most_common())
            raise CannotCompare(
                f"no labelled event was answered by all of {', '.join(found.settings.models)}; not asked: {asked}. "
                "Name the models to compare, or wait until the others have versions"
            )
        if self._period != Period():
            raise CannotCompare(f"{log.name} has no labelled event that was predicted in this period")
        return self._progressive(store, f"{log.name} has no labelled event yet")

    def _measured(self, log: ComparisonLog, show: Progress) -> Pass:
        models = self._wanted
        while True:
            found = measured(self._settings(models), log, show)
            champion = found.newest[1]
            if champion in models or champion not in self._names:
                return found
            models = [name for name in self._names if name in models or name == champion]

    def _settings(self, models: Sequence[str]) -> Settings:
        return Settings(
            models=tuple(models),
            target=self._stream.target,
            metrics=self._metrics,
            rule=self._rule,
            wait_ms=self._stream.labels.wait_ms,
            facets=facets_of(self._by, self._stream.slices),
        )

    def _metrics(self) -> list[Any]:
        make = learning_rules(self._stream).make_metrics
        return list(default_metrics(self._stream.task) if make is None else make())

    def _progressive(self, store: ModelStore, why: str) -> ProgressiveComparison:
        models = {name: self._loaded.of_model(name).model_id for name in self._wanted}
        bigger = {type(metric).__name__: bool(metric.bigger_is_better) for metric in self._metrics()}
        return progressive(store, self._stream.name, models, bigger, why)
