"""Which of River's kinds of models a stream takes, and by which sentence the others are refused."""

from __future__ import annotations

import pytest
from river import (
    active,
    anomaly,
    bandit,
    base,
    cluster,
    compose,
    drift,
    dummy,
    ensemble,
    forest,
    linear_model,
    metrics,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    preprocessing,
    reco,
    stats,
    time_series,
    tree,
)

from millstream.stream.model_kind import WrongModel, require_fit
from schemas.target import Task

SCALER = preprocessing.StandardScaler


@pytest.mark.parametrize(
    ("model", "task"),
    [
        (SCALER() | linear_model.LogisticRegression(), "binary"),
        (naive_bayes.GaussianNB(), "binary"),
        (tree.HoeffdingAdaptiveTreeClassifier(seed=1), "multiclass"),
        (forest.ARFClassifier(seed=1), "multiclass"),
        (SCALER() | neighbors.KNNClassifier(), "multiclass"),
        (multiclass.OneVsRestClassifier(linear_model.LogisticRegression()), "multiclass"),
        (ensemble.BaggingClassifier(SCALER() | naive_bayes.GaussianNB(), seed=1), "multiclass"),
        (linear_model.LinearRegression(), "regression"),
        (preprocessing.TargetStandardScaler(linear_model.LinearRegression()), "regression"),
        (preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1), "anomaly"),
        (anomaly.QuantileFilter(anomaly.OneClassSVM(), q=0.9), "anomaly"),
    ],
)
def test_models_that_fit_are_taken(model: base.Estimator, task: Task) -> None:
    require_fit(model, task)


@pytest.mark.parametrize(
    ("model", "name", "what"),
    [
        (cluster.KMeans(seed=1), "KMeans", "a clusterer"),
        (SCALER() | cluster.DBSTREAM(), "DBSTREAM", "a clusterer"),
        (reco.BiasedMF(), "BiasedMF", "a recommender"),
        (bandit.UCB(delta=1), "UCB", "a bandit"),
        (time_series.HoltWinters(alpha=0.3), "HoltWinters", "a forecaster"),
        (multioutput.ClassifierChain(linear_model.LogisticRegression()), "ClassifierChain", "a multi-output model"),
        (multioutput.RegressorChain(linear_model.LinearRegression()), "RegressorChain", "a multi-output model"),
        (tree.ISOUPTreeRegressor(), "ISOUPTreeRegressor", "a multi-output model"),
        (anomaly.GaussianScorer(), "GaussianScorer", "needs the label to score"),
        (anomaly.StandardAbsoluteDeviation(), "StandardAbsoluteDeviation", "needs the label to score"),
        (active.EntropySampler(linear_model.LogisticRegression()), "EntropySampler", "an active learner"),
        (neighbors.LazySearch(window_size=10), "LazySearch", "a search index"),
        (SCALER(), "StandardScaler", "a transformer"),
        (SCALER() | preprocessing.Normalizer(), "Normalizer", "a transformer"),
        (SCALER() + preprocessing.Normalizer(), "TransformerUnion", "a transformer"),
        (drift.ADWIN(), "ADWIN", "a drift detector"),
        (metrics.Accuracy(), "Accuracy", "a metric"),
        (stats.Mean(), "Mean", "a statistic"),
    ],
)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression", "anomaly"])
def test_other_kinds_are_refused_by_name_for_every_task(model: object, name: str, what: str, task: Task) -> None:
    with pytest.raises(WrongModel) as caught:
        require_fit(model, task)
    assert str(caught.value).startswith(name)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("model", "task", "said"),
    [
        (linear_model.LogisticRegression(), "regression", "is a classifier, and task='regression' needs a regressor"),
        (linear_model.LinearRegression(), "binary", "is a regressor, and task='binary' needs a classifier"),
        (linear_model.LinearRegression(), "multiclass", "is a regressor"),
        (dummy.PriorClassifier(), "anomaly", "is a classifier, and task='anomaly' needs an anomaly detector"),
        (anomaly.HalfSpaceTrees(seed=1), "binary", "is an anomaly detector, and task='binary' needs a classifier"),
        (anomaly.QuantileFilter(anomaly.GaussianScorer(), q=0.9), "anomaly", "needs the label to score"),
        (linear_model.LogisticRegression(), "multiclass", "learns two classes only: wrap it, multiclass.OneVsRest"),
        (ensemble.BaggingClassifier(linear_model.Perceptron(), seed=1), "multiclass", "learns two classes only"),
    ],
)
def test_models_of_another_task_are_refused(model: object, task: Task, said: str) -> None:
    with pytest.raises(WrongModel) as caught:
        require_fit(model, task)
    assert said in str(caught.value)


class Own(base.Classifier):
    def learn_one(self, x: dict[str, float], y: object) -> None: ...

    def predict_one(self, x: dict[str, float]) -> object:
        return None


def test_a_users_own_classifier_is_believed_to_know_many_classes() -> None:
    require_fit(compose.Pipeline(SCALER(), Own()), "multiclass")
