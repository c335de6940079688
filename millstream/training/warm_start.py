"""Training that goes on from an earlier version of the same model (`warm_start`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from consumers.model.row_form import RowForm
from consumers.model.version_files import ESTIMATOR_FILE, FORM
from millstream.estimators.fitting import CannotTrain, Recipe, Table, fit
from millstream.evaluation.versions.learned import Learned
from model_store import ModelStore, VersionId
from model_store.errors import StoreError, StoreUnavailable
from model_store.estimators import loads_estimator

_CAP_BYTES: Final = 4 << 30
_GROWING: Final = ("n_estimators", "max_iter")  # of ensembles: a fit goes on only if there are to be more parts
_WARM: Final = "warm_start"


@dataclass(frozen=True)
class Parent:
    """An earlier version. Each `estimator()` is another object.

    Attributes
    ----------
    data, form
        Its file, and the form of its rows.
    learned
        Returns whether it has learned an example, by its offset and the broker's times (ms) of prediction and label: a
        version that goes on from it is not tested with that one.
    """

    data: bytes
    form: RowForm
    learned: Callable[[int, int, int], bool] = lambda offset, asked_ms, came_ms: False

    def estimator(self) -> Any:
        """Return the fitted estimator. Raises CannotTrain if it does not load."""
        try:
            return loads_estimator(self.data, cap_bytes=_CAP_BYTES)
        except StoreError as error:
            raise CannotTrain(f"the version to go on from does not load: {error}") from error


def parent_of(store: ModelStore, version: VersionId, topic_id: str) -> Parent:
    """Return a version to go on from.

    Parameters
    ----------
    topic_id
        The log that is trained on.

    Raises
    ------
    CannotTrain
        If it is not there, or cannot be read.
    StoreUnavailable
        If the store does not answer.
    """
    try:
        manifest = store.manifest(version)
        form = RowForm.from_json(manifest.extra.get(FORM))
        return Parent(store.read(manifest, ESTIMATOR_FILE), form, Learned(store, version, topic_id).holds)
    except StoreUnavailable:
        raise
    except (StoreError, ValueError, KeyError) as error:
        raise CannotTrain(f"version {version}, to go on from, cannot be read: {error}") from error


def go_on(parent: Parent, recipe: Recipe, table: Table) -> Any:
    """Return the parent's estimator, fitted further.

    In a pipeline only the last step goes on: the ones before it stay as they are, so that its columns keep their
    meaning. An ensemble gets as many parts more as a new one has.

    Raises
    ------
    CannotTrain
        If the estimator has no `warm_start`, or its fit raises.
    """
    from sklearn.pipeline import Pipeline

    estimator = parent.estimator()
    last, fresh, rows = estimator, recipe.new(), table.rows
    if isinstance(estimator, Pipeline):
        last, fresh = estimator.steps[-1][1], fresh.steps[-1][1]
        for _, step in estimator.steps[:-1]:
            rows = rows if step in (None, "passthrough") else step.transform(rows)
    known = last.get_params(deep=False)
    if _WARM not in known:
        raise CannotTrain(f"warm_start=True, and {type(last).__name__} has no such parameter: it cannot go on")
    last.set_params(**{_WARM: True}, **_more(last, fresh))
    fit(last, Table(rows, table.labels, table.weights))
    return estimator


def _more(last: Any, fresh: Any) -> dict[str, int]:
    if not type(last).__module__.startswith("sklearn.ensemble."):
        return {}
    known = last.get_params(deep=False)
    return {name: known[name] + fresh.get_params(deep=False)[name] for name in _GROWING if name in known}
