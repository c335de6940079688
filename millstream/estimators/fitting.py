"""Fit of an estimator: its parameters and seeds, rows in the form of serving, labels and weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from consumers.model.estimator_model import one_thread

Numbers = np.ndarray[Any, np.dtype[Any]]
_SEED: Final = "random_state"
_RAISED: Final = (Exception, SystemExit)  # what a person's code may raise, and would again


class CannotTrain(Exception):  # noqa: N818
    """A training that fails, and would again; the message says why, and the way out."""


@dataclass(frozen=True)
class Recipe:
    """What makes an estimator: equal recipes and equal rows give equal estimators.

    Attributes
    ----------
    make
        Returns a new estimator.
    parameters
        Given to `set_params`.
    seed
        Given to each part that has none.
    """

    make: Callable[[], Any]
    parameters: Mapping[str, Any]
    seed: int

    def new(self) -> Any:
        """Return a new estimator. Raises CannotTrain if it cannot be made, or does not take the parameters."""
        try:
            estimator = self.make()
        except MemoryError:
            raise
        except _RAISED as error:
            raise CannotTrain(f"the estimator cannot be made: {type(error).__name__}: {error}") from error
        try:
            estimator.set_params(**self.parameters)
            estimator.set_params(**dict.fromkeys(unseeded(estimator), self.seed))
        except (ValueError, TypeError, AttributeError) as error:
            raise CannotTrain(f"the estimator does not take the parameters {dict(self.parameters)}: {error}") from error
        return estimator


@dataclass(frozen=True)
class Table:
    """Rows and labels for an estimator.

    Attributes
    ----------
    rows
        In the form of serving: a list, a data frame or a matrix.
    labels
        As scikit-learn takes them.
    """

    rows: Any
    labels: Numbers
    weights: Numbers

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def weighted(self) -> bool:
        """True unless every weight is 1."""
        return bool((self.weights != 1.0).any())


def rows_at(rows: Any, places: Numbers) -> Any:
    """Return some of the rows, in the order of `places`."""
    if isinstance(rows, list):
        return [rows[place] for place in places.tolist()]
    return rows.iloc[places] if hasattr(rows, "iloc") else rows[places]


def fit(estimator: Any, table: Table) -> Any:
    """Fit an estimator; weights are given to it if it takes them. Raises CannotTrain if it raises."""
    weight = weight_name(estimator)
    given = {weight: table.weights} if weight is not None and table.weighted else {}
    try:
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a person reads notes, not warnings of a process without a terminal
            return estimator.fit(table.rows, table.labels, **given)
    except MemoryError:
        raise
    except _RAISED as error:
        raise CannotTrain(f"the estimator cannot be fitted: {type(error).__name__}: {error}") from error


def weight_name(estimator: Any) -> str | None:
    """Return the parameter of `fit` that takes weights, `None` if there is none.

    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> weight_name(make_pipeline(LogisticRegression())), weight_name(KNeighborsClassifier())
    ('logisticregression__sample_weight', None)
    """
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = None if last in (None, "passthrough") else weight_name(last)
        return None if inner is None else f"{name}__{inner}"
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


def unseeded(estimator: Any) -> list[str]:
    """Return the names of the parameters that are a seed and have none.

    >>> from sklearn.ensemble import RandomForestClassifier
    >>> unseeded(RandomForestClassifier()), unseeded(RandomForestClassifier(random_state=1))
    (['random_state'], [])
    """
    found = estimator.get_params(deep=True)
    return sorted(
        name for name, value in found.items() if value is None and (name == _SEED or name.endswith(f"__{_SEED}"))
    )
