"""Batch models in a stream file: `BatchModel`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from millstream.stream.duration import milliseconds
from millstream.stream.errors import InvalidStream
from millstream.stream.memory_size import bytes_of
from millstream.stream.parameter_checks import (
    check_choices,
    check_counts,
    check_model_name,
    check_number,
    check_spans,
    known_parameters,
)
from millstream.stream.parameter_groups import Span
from schemas.model_names import MAIN
from schemas.target import Task

MOST_BATCH: Final = 16
_AT: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_CLUSTER: Final = re.compile(r"(dask|ray)://[^\s/]+:\d{1,5}")
_DAY_MS: Final = 86_400_000


@known_parameters(unnamed=("make",))
@dataclass(frozen=True, kw_only=True)
class BatchModel:
    """A scikit-learn model that jobs train on the log, beside the models that learn from each event.

    Parameters
    ----------
    make
        Called without arguments, returns a new estimator or pipeline of scikit-learn. A seed belongs inside it.
    rows
        What the estimator is given: ``dicts`` (a list of features by name), ``frame`` (a pandas DataFrame), or
        ``vector`` (the matrix of the stream's only vector feature).
    search
        Values to choose from, by parameter name as of `set_params`. Without it there is one fit.
    candidates
        How many combinations the halving random search begins with.
    folds
        Parts of the time series cross-validation.
    score
        A scorer of scikit-learn by name; by default ``neg_log_loss`` for classes and ``neg_root_mean_squared_error``.
    seed
        Of the search and of the sample.
    window
        How far the training goes back from its newest label; `None` means all of the log.
    most
        Rows that are trained on; of more, a seeded sample is taken.
    every, at
        How often a job is due, and at which time of the day (UTC, ``"02:00"``) if `every` is whole days.
    retrain_on
        Names of alerts that ask for a job when they are raised.
    not_more_than
        The least distance of two jobs that alerts ask for.
    longest
        After this a run is ended, and has failed.
    deploy
        ``by-hand``; ``shadow``: a challenger that is asked in the shadow; ``if-better``: it also serves at once, if it
        is better than what serves on the newest data, by `at_least`.
    at_least
        By how much the mean loss must be lower, with the whole interval.
    test
        Share of the rows, the newest, on which the model is compared with what served.
    final
        ``tested``: what is deployed is what was tested; ``refit``: it is fitted again on all rows, and marked so.
    sees
        Names of the features that it is given; `None` means all.
    cores, memory
        Limits of a run: processor cores, and memory such as ``"4GiB"``.
    cluster
        Address of a cluster that searches, such as ``dask://host:8786``; by default the search is local.
    warm_start
        True to go on from its newest version instead of from a new estimator.
    onnx
        True to serve the model converted to ONNX.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> BatchModel(lambda: LogisticRegression(), every="1d", at="02:00").every_ms
    86400000
    """

    make: Callable[[], Any] = field(kw_only=False)
    rows: Literal["dicts", "frame", "vector"] = "dicts"
    search: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    candidates: int = 20
    folds: int = 3
    score: str | None = None
    seed: int = 0
    window: Span | None = None
    most: int = 1_000_000
    every: Span | None = None
    at: str | None = None
    retrain_on: Collection[str] = ()
    not_more_than: Span = "1h"
    longest: Span = "6h"
    deploy: Literal["by-hand", "shadow", "if-better"] = "shadow"
    at_least: float = 0.0
    test: float = 0.2
    final: Literal["tested", "refit"] = "tested"
    sees: Collection[str] | None = None
    cores: int = 1
    memory: str | int = "4GiB"
    cluster: str | None = None
    warm_start: bool = False
    onnx: bool = False

    def __post_init__(self) -> None:
        if not callable(self.make):
            raise InvalidStream("BatchModel: make must be a function that returns a new estimator, such as lambda: ...")
        check_choices(self, _CHOICES)
        check_counts(self, "candidates", "folds", "most", "cores")
        check_spans(self, "window", "every", "not_more_than", "longest")
        check_number(self, "at_least", least=0.0)
        self._check_memory()
        check_number(self, "test", above=0.0, below=1.0)
        self._check_schedule()
        self._check_search()
        self._check_names()
        if self.cluster is not None and not (isinstance(self.cluster, str) and _CLUSTER.fullmatch(self.cluster)):
            raise InvalidStream(f"BatchModel: cluster={self.cluster!r:.60} must be like 'dask://host:8786'")

    def _check_memory(self) -> None:
        try:
            bytes_of(self.memory)
        except InvalidStream as error:
            raise InvalidStream(f"BatchModel: memory={error}") from error

    def _check_schedule(self) -> None:
        if self.at is None:
            return
        if not isinstance(self.at, str) or not _AT.fullmatch(self.at):
            raise InvalidStream(f"BatchModel: at={self.at!r:.60} must be a time of the day in UTC, such as '02:00'")
        if self.every is None or self.every_ms % _DAY_MS:
            raise InvalidStream("BatchModel: at= needs every= of whole days, such as every='1d'")

    def _check_search(self) -> None:
        search = self.search
        valid = isinstance(search, Mapping) and all(
            isinstance(name, str) and isinstance(values, Sequence) and not isinstance(values, str) and len(values)
            for name, values in search.items()
        )
        if not valid:
            raise InvalidStream(
                f"BatchModel: search={search!r:.60} must give values by parameter, such as {{'max_depth': [3, 5]}}"
            )

    def _check_names(self) -> None:
        for name in ("retrain_on", "sees"):
            given = getattr(self, name)
            if isinstance(given, str) or not (given is None or all(isinstance(each, str) for each in given)):
                raise InvalidStream(f"BatchModel: {name}={given!r:.60} must be names, such as ['a', 'b']")
        for name in self.retrain_on:
            if name.startswith("trainer."):
                raise InvalidStream(f"BatchModel: retrain_on={name!r:.60}: a failed job would ask for itself again")
        if self.sees is not None and not self.sees:
            raise InvalidStream("BatchModel: sees=[] leaves the model without features; leave it out to give it all")

    def __call__(self) -> Any:
        """Return a new estimator."""
        return self.make()

    @property
    def memory_bytes(self) -> int:
        """`memory` in bytes."""
        return bytes_of(self.memory)

    @property
    def every_ms(self) -> int:
        """`every` in milliseconds, 0 without a schedule."""
        return 0 if self.every is None else milliseconds(self.every)

    @property
    def at_ms(self) -> int:
        """`at` in milliseconds after midnight (UTC)."""
        found = None if self.at is None else _AT.fullmatch(self.at)
        return 0 if found is None else (int(found[1]) * 60 + int(found[2])) * 60_000


def check_batch(batch: Mapping[str, BatchModel], models: Collection[str], stream: str, task: Task) -> None:
    """Raise InvalidStream unless names and kinds of the batch models are valid."""
    if not isinstance(batch, Mapping):
        raise InvalidStream(
            f"Stream: batch={batch!r:.60} must name models, such as {{'gbdt': BatchModel(lambda: ...)}}"
        )
    if len(batch) > MOST_BATCH:
        raise InvalidStream(f"Stream: batch= has {len(batch)}; there are at most {MOST_BATCH}")
    for name, model in batch.items():
        check_model_name("batch", name)
        if name in (MAIN, stream) or name in models:
            raise InvalidStream(f"Stream: batch={name!r}: another model of the stream has that name")
        if not isinstance(model, BatchModel):
            raise InvalidStream(f"Stream: batch={name!r} must be BatchModel(...), such as BatchModel(lambda: ...)")
    if batch and task == "anomaly":
        raise InvalidStream("Stream: batch= is for tasks with labels, not for task='anomaly'")


_CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "rows": ("dicts", "frame", "vector"),
        "deploy": ("by-hand", "shadow", "if-better"),
        "final": ("tested", "refit"),
    }
)
