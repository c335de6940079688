"""Score of one fit in a search. It runs on a cluster's workers, too, and returns plain values only."""

from __future__ import annotations

import math
import warnings
from typing import Any, Final

import numpy as np

_LEAST_SHARE: Final = 1e-6
_LONGEST: Final = 300


def scored(estimator: Any, train: tuple[Any, Any, Any], test: tuple[Any, Any, Any], how: str, weight: str) -> list[Any]:
    """Fit an estimator on one part, and return its score on the other, higher is better; or why there is none.

    Parameters
    ----------
    train, test
        Rows, labels and weights; weights are `None` where all are 1.
    how
        A scorer of scikit-learn by name, or ``log_loss`` or ``rmse``: these also take a test part that has classes
        which the training part lacks, or lacks some.
    weight
        Parameter of `fit` that takes the weights; empty for none.

    Returns
    -------
    list
        The score, or `None` with a reason.
    """
    from joblib import parallel_config
    from threadpoolctl import threadpool_limits

    rows, labels, weights = train
    given = {weight: weights} if weight and weights is not None else {}
    try:
        with threadpool_limits(1), parallel_config(backend="sequential"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(rows, labels, **given)
            found = float(_score(estimator, *test, how))
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - an estimator may raise anything: another candidate may do better
        return [None, f"{type(error).__name__}: {error}"[:_LONGEST]]
    return [found, ""] if math.isfinite(found) else [None, f"its score is {found}"]


def _score(estimator: Any, rows: Any, labels: Any, weights: Any, how: str) -> float:
    if how == "rmse":
        wrong = np.asarray(estimator.predict(rows), dtype=np.float64) - labels
        return -math.sqrt(float(np.average(wrong * wrong, weights=weights)))
    if how == "log_loss":
        if not hasattr(estimator, "predict_proba"):
            return float(np.average(estimator.predict(rows) == labels, weights=weights))
        return _log_score(estimator, rows, labels, weights)
    from sklearn.metrics import get_scorer

    more = {} if weights is None else {"sample_weight": weights}
    return float(get_scorer(how)(estimator, rows, labels, **more))


def _log_score(estimator: Any, rows: Any, labels: Any, weights: Any) -> float:
    """Return the mean logarithm of the share of the label; a class that the estimator has not met has the least."""
    shares = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    place = {label: number for number, label in enumerate(estimator.classes_.tolist())}
    columns = np.array([place.get(label, -1) for label in labels.tolist()])
    chosen = np.where(columns < 0, 0.0, shares[np.arange(len(columns)), columns])
    return float(np.average(np.log(np.clip(chosen, _LEAST_SHARE, 1.0)), weights=weights))
