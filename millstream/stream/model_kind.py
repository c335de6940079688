"""Kind of a River model, and the check that the stream's task can use it."""

from __future__ import annotations

from typing import Any, Final

from river import bandit, base, compose, metrics, reco, stats, time_series
from river.active.base import ActiveLearningClassifier
from river.neighbors.base import BaseNN

from millstream.stream.errors import LoadError
from schemas.target import Task

_NEEDS: Final[dict[Task, str]] = {
    "binary": "a classifier",
    "multiclass": "a classifier",
    "regression": "a regressor",
    "anomaly": "an anomaly detector",
}
# The order matters: an ISOUPTreeRegressor is also an instance of a regressor.
_REFUSED: Final[tuple[tuple[tuple[type, ...], str, str], ...]] = (
    (
        (base.MultiLabelClassifier, base.MultiTargetRegressor),
        "a multi-output model",
        "a stream predicts one output; make one stream for each",
    ),
    ((base.Clusterer,), "a clusterer", "no label says whether a cluster was right; an anomaly detector may do"),
    ((reco.base.Ranker,), "a recommender", "it takes users and items in place of features; use a regressor"),
    ((bandit.base.Policy,), "a bandit", "it chooses among arms and predicts nothing of an event; use a classifier"),
    (
        (time_series.base.Forecaster,),
        "a forecaster",
        "it predicts the next values of one series, not an event from its features; use a regressor",
    ),
    (
        (base.SupervisedAnomalyDetector,),
        "a supervised anomaly detector",
        "it needs the label to score an event, and the label comes later; "
        "use HalfSpaceTrees, LODA, LocalOutlierFactor or OneClassSVM",
    ),
    (
        (ActiveLearningClassifier,),
        "an active learner",
        "it answers with a question beside the prediction; use the classifier inside it",
    ),
    ((BaseNN,), "a search index", "use neighbors.KNNClassifier or KNNRegressor with it as engine"),
    ((base.Transformer,), "a transformer", "it predicts nothing; put a model after it: transformer | model"),
    ((base.DriftDetector, base.BinaryDriftDetector), "a drift detector", "it predicts nothing"),
    ((metrics.base.Metric,), "a metric", "it belongs to Evaluation(metrics=…)"),
    ((stats.base.Statistic,), "a statistic", "it predicts nothing; dummy.StatisticRegressor makes a model of one"),
)


class WrongModel(LoadError):  # noqa: N818
    """The model is of a kind that streams, or this stream's task, cannot use."""


def final_step(model: Any) -> Any:
    """Return the predicting step: the last one of a pipeline, or the model itself."""
    while isinstance(model, compose.Pipeline) and len(model):
        model = model._last_step
    return model


def require_fit(model: Any, task: Task) -> None:
    """Check that a stream of this task can use `model`.

    Raises
    ------
    WrongModel
        If it cannot; the message names the model's kind and what to use instead.
    """
    if isinstance(model, type):
        raise WrongModel(f"model= returned the class {model.__name__}; call it: {model.__name__}()")
    if isinstance(model, compose.Pipeline) and not len(model):
        raise WrongModel("model= returned an empty pipeline")
    last = final_step(model)
    name = type(last).__name__
    for kinds, what, way_out in _REFUSED:
        if isinstance(last, kinds):
            raise WrongModel(f"{name} is {what}: {way_out}")
    if not isinstance(last, base.Estimator):
        said = "None" if model is None else f"{type(model).__module__}.{type(model).__qualname__}"
        raise WrongModel(
            f"model= returned {said}, which is not a River model: your own class must derive from "
            "base.Classifier, base.Regressor or base.AnomalyDetector"
        )
    found = _kind(last)
    if found is None or found != _NEEDS[task]:
        raise WrongModel(f"{name} is {found or 'no model that predicts'}, and task={task!r} needs {_NEEDS[task]}")
    if task == "multiclass" and _is_rivers(last) and not _many_classes(last):
        raise WrongModel(f"{name} learns two classes only: wrap it, multiclass.OneVsRestClassifier({name}(...))")


def require_estimator(model: Any, task: Task) -> None:
    """Check that a stream of this task can train `model`, an estimator of scikit-learn.

    Raises
    ------
    WrongModel
        If it cannot; the message names the estimator's kind.
    """
    from sklearn.base import BaseEstimator, is_classifier, is_regressor

    if isinstance(model, type):
        raise WrongModel(f"make returned the class {model.__name__}; call it: {model.__name__}()")
    if not isinstance(model, BaseEstimator):
        said = "None" if model is None else f"{type(model).__module__}.{type(model).__qualname__}"
        raise WrongModel(f"make returned {said}, which is no estimator of scikit-learn")
    fits = is_regressor(model) if task == "regression" else is_classifier(model)
    if not fits:
        raise WrongModel(f"{type(model).__name__} is no {_NEEDS[task].split(' ')[-1]}, and task={task!r} needs one")


def _kind(last: Any) -> str | None:
    if isinstance(last, base.Classifier):
        return "a classifier"
    if isinstance(last, base.Regressor):
        return "a regressor"
    if isinstance(last, (base.AnomalyDetector, base.AnomalyFilter)):
        return "a filter that needs the label to score" if last._supervised else "an anomaly detector"
    return None


def _is_rivers(model: Any) -> bool:
    return type(model).__module__.startswith("river.")


def _many_classes(model: Any) -> bool:
    """Return whether a River classifier supports more than two classes; a wrapper does if its wrapped model does."""
    inner = final_step(model)
    # A scikit-learn estimator learns the classes that it was given, also more than two.
    if not _is_rivers(inner) or inner._multiclass or type(inner).__name__ == "SKL2RiverClassifier":
        return True
    return isinstance(inner, base.Wrapper) and _many_classes(inner._wrapped_model)
