"""Halving random search over the parameters of an estimator, with the folds of a time series.

All candidates are tried on few rows, the best third of them on three times as many, and so on: K. Jamieson and A.
Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization", AISTATS 2016. The rows of a rung
are a seeded sample of the training part; each of its folds is split by time, honest about the delay of labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from millstream.estimators.fitting import CannotTrain, Numbers, Recipe, Table, weight_name
from millstream.stream.batch import BatchModel
from millstream.training.examples import Examples
from millstream.training.scoring import scored
from millstream.training.splitting import Split, folds
from millstream.training.tables import Tables

FACTOR: Final = 3
_PLAIN: Final = (bool, int, float, str, type(None))
Part = tuple[Any, Any, Any]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Fit:
    """One fit of a search: an estimator, and the parts that it is fitted on and scored on."""

    estimator: Any
    train: Part
    test: Part
    score: str
    weight: str

    def run(self) -> list[Any]:
        """Return the score, and the reason if it is `None`."""
        return scored(self.estimator, self.train, self.test, self.score, self.weight)


class _Rung(NamedTuple):
    """One rung: its number, how many rows are sampled, and training and test part of each fold."""

    number: int
    rows: int
    parts: list[tuple[Part, Part]]


class Runs(Protocol):
    """Runs fits somewhere, in any order, and yields their results in the order of the fits."""

    def __call__(self, fits: Sequence[Fit]) -> Iterable[Sequence[Any]]: ...


@dataclass(frozen=True)
class Found:
    """Result of a search: the parameters of the best candidate, and one row for each candidate and rung."""

    parameters: dict[str, Any]
    table: list[dict[str, Any]]


class Search:
    """A search.

    Parameters
    ----------
    split
        Its training part is searched on, with what was known before its test part.
    runs
        Where fits run; by default in this process, one after the other.
    """

    def __init__(
        self, model: BatchModel, examples: Examples, split: Split, tables: Tables, runs: Runs | None = None
    ) -> None:
        self._model = model
        self._examples = examples
        self._train = split.train
        self._moment = split.moment
        self._tables = tables
        self._runs: Runs = runs or one_by_one
        self._numbers = tables.regression
        self._score = model.score or ("rmse" if self._numbers else "log_loss")
        self._order = self._sampled()
        self._done = 0

    def run(self, progress: Progress) -> Found:
        """Search.

        Raises
        ------
        CannotTrain
            If no rung has enough rows, or no candidate could be fitted.
        """
        candidates = candidates_of(self._model)
        rungs = self._rungs(len(candidates))
        sizes = [math.ceil(len(candidates) / FACTOR**rung) for rung in range(len(rungs))]
        total, table, alive = sum(sizes) * self._model.folds, [], list(range(len(candidates)))
        for rung in rungs:
            chosen = {number: candidates[number] for number in alive[: sizes[rung.number]]}
            scores = self._scored(rung, chosen, total, progress)
            table += [row for _, row in scores]
            # Equal scores: the candidate that was drawn first.
            best = sorted((score, -row["candidate"]) for score, row in scores if score is not None)[::-1]
            if not best:
                raise CannotTrain(f"no candidate of the search can be fitted; the first: {scores[0][1]['error']}")
            alive = [-number for _, number in best]
        return Found(candidates[alive[0]], table)

    def _scored(
        self, rung: _Rung, candidates: Mapping[int, dict[str, Any]], total: int, progress: Progress
    ) -> list[tuple[float | None, dict[str, Any]]]:
        """Return score and row of each candidate; the score is `None` if one of its fits failed."""
        fits = [self._fit(parameters, *part) for parameters in candidates.values() for part in rung.parts]
        told = f"search: {len(candidates)} candidates on {rung.rows} rows"
        results: list[tuple[float | None, str]] = []
        progress(self._done, total, told)  # the first fits may take long
        for result in self._runs(fits):
            results.append(_checked(result))
            self._done += 1
            progress(self._done, total, told)
        found = []
        for at, (number, parameters) in enumerate(candidates.items()):
            own = results[at * len(rung.parts) : (at + 1) * len(rung.parts)]
            scores = [score for score, _ in own]
            known = [score for score in scores if score is not None]
            mean = math.fsum(known) / len(known) if len(known) == len(scores) else None
            why = next((reason for _, reason in own if reason), "")
            row = {
                "rung": rung.number,
                "rows": rung.rows,
                "candidate": number,
                "parameters": {name: written(value) for name, value in parameters.items()},
                "score": mean,
                "folds": scores,
            }
            found.append((mean, row | ({"error": why} if why else {})))
        return found

    def _fit(self, parameters: Mapping[str, Any], train: Part, test: Part) -> Fit:
        estimator = Recipe(self._model.make, parameters, self._model.seed).new()
        return Fit(estimator, train, test, self._score, weight_name(estimator) or "")

    # --- rows ----------------------------------------------------------------------------------------

    def _rungs(self, candidates: int) -> list[_Rung]:
        """Return the rungs, the smallest first, without those that have too few rows."""
        found: list[_Rung] = []
        why = ""
        for power in range(int(math.log(candidates, FACTOR) + 1e-9), -1, -1):
            rows = len(self._train) // FACTOR**power
            try:
                found.append(_Rung(len(found), rows, self._parts(rows)))
            except CannotTrain as error:
                why = str(error)
        if not found:
            raise CannotTrain(f"the search: {why}")
        return found

    def _parts(self, rows: int) -> list[tuple[Part, Part]]:
        """Return training and test parts of the folds of so many rows. Raises CannotTrain if they do not suffice."""
        chosen = self._train[np.sort(self._order[:rows])]
        parts = []
        for split in folds(self._examples, chosen, self._model.folds):
            train = self._tables.table(split.train, split.moment)
            if not self._numbers and len(set(train.labels.tolist())) < 2:
                raise CannotTrain(
                    f"with {rows} rows in {self._model.folds} folds, a fold's training part has one class only: give "
                    "the job a longer range (window=), or fewer folds= or candidates="
                )
            parts.append((_part(train), _part(self._tables.table(split.test, self._moment))))
        return parts

    def _sampled(self) -> Numbers:
        """Return places of the training part in a seeded order that begins with an example of each class.

        So the smallest rung holds every class.
        """
        order = np.random.default_rng(self._model.seed).permutation(len(self._train))
        if self._numbers:
            return order
        labels, _ = self._examples.known_at(self._train[order].tolist(), self._moment)
        first = dict[Any, int]()
        for place, label in enumerate(labels):
            first.setdefault(label, place)
        ahead = np.array(sorted(first.values()), dtype=np.intp)
        found: Numbers = np.concatenate([order[ahead], np.delete(order, ahead)])
        return found


def candidates_of(model: BatchModel) -> list[dict[str, Any]]:
    """Return the combinations of parameters that a search begins with, seeded, each once."""
    from sklearn.model_selection import ParameterSampler

    possible = math.prod(len(values) for values in model.search.values())
    space = {name: list(values) for name, values in model.search.items()}
    return list(ParameterSampler(space, min(model.candidates, possible), random_state=model.seed))


def one_by_one(fits: Sequence[Fit]) -> Iterator[Sequence[Any]]:
    """Run fits in this process."""
    for fit in fits:
        yield fit.run()


def on_cores(cores: int) -> Runs:
    """Return what runs fits on several cores of this machine."""
    if cores == 1:
        return one_by_one

    def run(fits: Sequence[Fit]) -> Iterable[Sequence[Any]]:
        from joblib import Parallel, delayed

        found: Iterable[Sequence[Any]] = Parallel(n_jobs=cores, return_as="generator")(
            delayed(scored)(each.estimator, each.train, each.test, each.score, each.weight) for each in fits
        )
        return found

    return run


def written(value: Any) -> Any:
    """Return a parameter as JSON holds it; what JSON cannot hold is written as Python shows it.

    >>> written(3), written((50, 20)), written(len)
    (3, [50, 20], '<built-in function len>')
    """
    if hasattr(value, "item") and not isinstance(value, _PLAIN):
        value = value.item() if getattr(value, "ndim", 0) == 0 else value.tolist()
    if isinstance(value, (list, tuple)):
        return [written(each) for each in value]
    return value if isinstance(value, _PLAIN) else repr(value)


def as_declared(parameters: Mapping[str, Any], model: BatchModel) -> dict[str, Any]:
    """Return chosen parameters with the values as the search declares them, from how JSON holds them.

    Raises
    ------
    CannotTrain
        If the search has no such value.
    """
    found = {}
    for name, text in parameters.items():
        values = [each for each in model.search.get(name, ()) if written(each) == text]
        if not values:
            raise CannotTrain(f"search= has no value {text!r:.60} for {name!r} any more")
        found[name] = values[0]
    return found


def _checked(result: Sequence[Any]) -> tuple[float | None, str]:
    """Return a result as plain values: it may come from another machine."""
    score, why = result
    if score is None or not math.isfinite(float(score)):
        return None, str(why) or f"its score is {score}"
    return float(score), str(why)


def _part(table: Table) -> Part:
    return table.rows, table.labels, table.weights if table.weighted else None
