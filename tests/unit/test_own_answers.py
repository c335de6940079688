"""Answers are the model's own: `predict_one` is the prediction, `predict_proba_one` the shares, plain on the wire."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from river import (
    base,
    compat,
    drift,
    dummy,
    ensemble,
    imblearn,
    linear_model,
    metrics,
    model_selection,
    multiclass,
    naive_bayes,
    preprocessing,
    tree,
)
from river.active.base import ActiveLearningClassifier
from sklearn import linear_model as sk_linear
from sklearn import naive_bayes as sk_bayes

from consumers.model.argmax_models import decides_by_share
from consumers.model.model_state import LearnerState, LearningRules
from consumers.model.river_model import ModelError, wrap
from consumers.predictor.fast_outcomes import OutcomeWriter
from model_store import dumps, loads
from model_store.generate_allowed_names import all_classes, estimators, instances, teach
from runtime.kafka_client.records import Partition
from schemas import codec
from schemas.contract import Contract
from schemas.events import Event, Example, Joined, Label, Lane, Outcome
from schemas.target import Target, Task


class Threshold(base.Wrapper, base.Classifier):  # type: ignore[type-arg]
    """Answers True from a share of 0.2 on; abstains below `least`."""

    def __init__(self, classifier: base.Classifier, least: float = 0.0) -> None:
        self.classifier = classifier
        self.least = least

    @property
    def _wrapped_model(self) -> base.Classifier:
        return self.classifier

    def learn_one(self, x: Any, y: Any) -> None:
        self.classifier.learn_one(x, y)

    def predict_proba_one(self, x: Any, **kwargs: Any) -> Any:
        return self.classifier.predict_proba_one(x)

    def predict_one(self, x: Any, **kwargs: Any) -> Any:
        shares = self.predict_proba_one(x)
        if max(shares.values(), default=0.0) < self.least:
            return None
        return shares.get(True, 0.0) >= 0.2


def logistic() -> Any:
    return linear_model.LogisticRegression()


def sk(estimator: Any, classes: Any) -> Callable[[], Any]:
    return lambda: compat.convert_sklearn_to_river(estimator, classes=classes)


def sgd(loss: str) -> Any:
    return sk_linear.SGDClassifier(loss=loss, random_state=1)


def undersampled(model: Any) -> Any:
    return imblearn.RandomUnderSampler(model, desired_dist={False: 0.5, True: 0.5}, seed=1)


MODELS: dict[str, tuple[Task, Callable[[], Any]]] = {
    "threshold": ("binary", lambda: preprocessing.StandardScaler() | Threshold(logistic())),
    "abstaining": ("binary", lambda: preprocessing.StandardScaler() | Threshold(logistic(), least=0.7)),
    "deciding nothing": ("binary", lambda: Threshold(logistic(), least=1.1)),
    "sampled threshold": ("binary", lambda: undersampled(Threshold(logistic()))),
    "hard threshold": ("binary", lambda: imblearn.HardSamplingClassifier(Threshold(logistic()), 20, 0.3, seed=1)),
    "over and under": (
        "binary",
        lambda: imblearn.RandomSampler(logistic(), desired_dist={False: 0.4, True: 0.6}, sampling_rate=0.8, seed=1),
    ),
    "voting by class": ("binary", lambda: ensemble.VotingClassifier([logistic(), naive_bayes.GaussianNB()], False)),
    "voting by share": ("binary", lambda: ensemble.VotingClassifier([logistic(), naive_bayes.GaussianNB()])),
    "no change": ("multiclass", dummy.NoChangeClassifier),
    "retrained": ("binary", lambda: drift.DriftRetrainingClassifier(Threshold(logistic()), drift.binary.DDM())),
    "halving": (
        "binary",
        lambda: model_selection.SuccessiveHalvingClassifier(
            [logistic(), naive_bayes.GaussianNB()], metrics.Accuracy(), budget=200
        ),
    ),
    "one against the rest": ("multiclass", lambda: multiclass.OneVsRestClassifier(logistic())),
    "one against one": ("multiclass", lambda: multiclass.OneVsOneClassifier(logistic())),
    "output codes": ("multiclass", lambda: multiclass.OutputCodeClassifier(logistic(), 6, seed=1)),
    "tree": ("multiclass", lambda: tree.HoeffdingTreeClassifier(grace_period=20)),
    "hinge": ("binary", sk(sgd("hinge"), [False, True])),
    "sampled hinge": ("binary", lambda: undersampled(sk(sgd("hinge"), [False, True])())),
    "hinge, texts": ("multiclass", sk(sgd("hinge"), np.array(["a", "b", "c"]))),
    "logistic, 0 and 1": ("binary", sk(sgd("log_loss"), [0, 1])),
    "logistic, numpy": ("binary", sk(sgd("log_loss"), list(np.unique([False, True])))),
    "logistic, doubles": ("binary", sk(sgd("log_loss"), [0.0, 1.0])),
    "huber, texts": ("multiclass", sk(sgd("modified_huber"), list(np.array(["a", "b", "c"])))),
    "bayes, whole numbers": ("numbers", sk(sk_bayes.BernoulliNB(), np.array([0, 1, 2]))),  # type: ignore[dict-item]
    "bayes, doubles": ("numbers", sk(sk_bayes.BernoulliNB(), np.array([0.0, 1.0, 2.0]))),  # type: ignore[dict-item]
    "perceptron": ("binary", sk(sk_linear.Perceptron(random_state=1), [False, True])),
    "aggressive": ("binary", sk(sgd("squared_hinge"), [False, True])),
}


def rows(task: str, count: int) -> list[tuple[dict[str, Any], Any]]:
    rng, made = random.Random(7), []
    for _ in range(count):
        x = {"a": rng.gauss(0, 1), "b": rng.gauss(0, 1)}
        signal = x["a"] + x["b"] + rng.gauss(0, 0.7)
        number = int(signal > -0.5) + int(signal > 1)
        made.append((x, signal > 1.2 if task == "binary" else number if task == "numbers" else "abc"[number]))
    return made


def made(task: Task) -> list[Any]:
    if task == "binary":
        return [metrics.Recall(), metrics.F1(), metrics.Accuracy(), metrics.ROCAUC(), metrics.LogLoss()]
    return [metrics.Accuracy(), metrics.MacroF1(), metrics.CrossEntropy()]


def of_river(model: Any, made: list[Any], data: list[tuple[Any, Any]]) -> dict[str, float | None]:
    """Return River's own values, as `evaluate.progressive_val_score` comes by each; `None` where the model has none."""
    measured = set()
    for x, y in data:
        for metric in made:
            try:
                said = model.predict_one(x) if metric.requires_labels else model.predict_proba_one(x)
            except (NotImplementedError, AttributeError):
                continue
            if said is not None and said != {}:
                metric.update(y, said)
                measured.add(metric)
        model.learn_one(x, y)
    return {type(each).__name__: float(each.get()) if each in measured else None for each in made}


def learned(task: Task, make: Callable[[], Any], data: list[Any], only: list[Any] | None = None) -> LearnerState:
    """Learn what was served on the way just before it; what is served goes over the wire."""
    learning = LearnerState(LearningRules(Target(task=task), Contract(), make, lambda: only or made(task), 100))
    writer = OutcomeWriter(("m", 1, 0), 0, Partition("t", 0))
    for number, (x, y) in enumerate(data):
        fields = codec.OUTCOME.decode_body(writer.write(learning.model.predict(dict(x)), number))
        label, joined = Label(f"e{number}", y, number), Joined(0, number, number, number, number)
        lane = Lane("0", "epoch", number)
        learning.apply(Example(Event(f"e{number}", number, dict(x)), Outcome(**fields), label, lane, joined), number)
    return learning


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", MODELS)
def test_progressive_and_served_metrics_are_those_of_rivers_own_loop(name: str) -> None:
    kind, make = MODELS[name]
    task: Task = "binary" if kind == "binary" else "multiclass"
    data = rows(kind, 80)
    report = learned(task, make, data).board.report()
    own = of_river(make(), made(task), data)
    assert report["progressive"]["all"] == own
    assert report["served"]["all"] == own
    of_classes = [each for each in made(task) if each.requires_labels]
    alone = learned(task, make, data, of_classes).board.report()["progressive"]["all"]
    assert alone == {type(each).__name__: own[type(each).__name__] for each in of_classes}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", MODELS)
def test_what_is_served_is_the_models_own_and_plain_on_the_wire(name: str) -> None:
    kind, make = MODELS[name]
    task: Task = "binary" if kind == "binary" else "multiclass"
    model, data = make(), rows(kind, 60)
    face = wrap(model, task)
    for x, y in data:
        one = model.predict_one(x)
        answer = face.predict(x)
        assert answer.value == one
        assert answer.value.__class__ in ((bool, type(None)) if task == "binary" else (str, int, type(None)))
        assert face.decide(x).value == one
        try:
            shares = model.predict_proba_one(x)
        except (NotImplementedError, AttributeError):
            assert answer.probabilities is None
        else:
            assert (answer.probabilities or {}) == shares
            keys = set(answer.wire_probabilities() or ())
            assert keys <= ({"true", "false"} if task == "binary" else {"a", "b", "c", "0", "1", "2"})
        model.learn_one(x, y)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("scaled", [False, True])
def test_a_bayes_that_knows_too_little_decides_and_has_no_shares_yet(scaled: bool) -> None:
    """Its shares are NaN. As errors, such answers would keep events from being joined, and a class from being seen."""

    def make() -> Any:
        estimator = compat.convert_sklearn_to_river(sk_bayes.GaussianNB(), classes=[False, True])
        return preprocessing.StandardScaler() | estimator if scaled else estimator

    model = make()
    face = wrap(model, "binary")
    data = [(x, number >= 30 and y) for number, (x, y) in enumerate(rows("binary", 80))]
    with_shares = []
    for x, y in data:
        answer = face.predict(x)
        assert answer.value == model.predict_one(x)
        with_shares.append(answer.probabilities is not None)
        model.learn_one(x, y)
    assert not any(with_shares[1:31])  # River has even shares before the first example
    assert all(with_shares[-10:])
    of_classes = [metrics.F1(), metrics.Accuracy(), metrics.Recall()]
    report = learned("binary", make, data).board.report()["progressive"]["all"]
    own = of_river(make(), of_classes, data)
    assert {name: report[name] for name in own} == own


def test_every_classifier_of_river_is_answered_by_its_own_predict_one() -> None:
    """Ties and empty shares among them: before anything is learned, and of events without what was learned."""
    asked, once = set(), set()
    rng = random.Random(3)
    events = [{"a": rng.random(), "b": rng.gauss(0, 1), "c": float(rng.randrange(3))} for _ in range(20)]
    events += [{"a": 0.0, "b": 0.0, "c": 0.0}, {"a": 1.0}, {}]
    for kind in sorted(all_classes(), key=lambda kind: kind.__qualname__):
        if not issubclass(kind, base.Classifier) or issubclass(kind, ActiveLearningClassifier):
            continue  # active learners are refused by name
        for model in instances(kind):
            for learned_some in (False, True):
                if learned_some:
                    teach(model, examples=40)
                asks, answers = copy.deepcopy(model), copy.deepcopy(model)
                for x in events:
                    _ask_both(asks, answers, x)
            asked.add(kind.__name__)
            if decides_by_share(model):
                once.add(kind.__name__)
    assert asked - once == {
        "NoChangeClassifier",
        "OneVsOneClassifier",
        "OutputCodeClassifier",
        "SKL2RiverClassifier",
        "VotingClassifier",
    }
    assert len(asked) >= 40


def test_metrics_of_every_classifier_of_river_are_those_of_its_own_loop() -> None:
    rng = random.Random(8)
    data = [({"a": rng.random(), "b": rng.random()}, rng.random() < 0.4) for _ in range(40)]
    measured = 0
    for kind in sorted(all_classes(), key=lambda kind: kind.__qualname__):
        if not issubclass(kind, base.Classifier) or issubclass(kind, ActiveLearningClassifier):
            continue
        if kind.__name__ == "BaseTreeClassifier":
            continue  # a tree of a forest, which cannot learn alone
        for model in instances(kind):
            other = copy.deepcopy(model)  # with the state of its chance, where it has no seed
            report = learned("binary", lambda other=other: other, data).board.report()
            own = of_river(model, made("binary"), data)
            assert report["progressive"]["all"] == own, kind
            assert report["served"]["all"] == own, kind
            measured += 1
    assert measured >= 40


def _ask_both(model: Any, other: Any, x: dict[str, float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            one = model.predict_one(dict(x))
        except Exception as error:  # noqa: BLE001 - then the answer raises as well
            with pytest.raises(type(error)):
                wrap(other, "multiclass").predict(dict(x))
            return
        try:
            answer = wrap(other, "multiclass").predict(dict(x))
        except ModelError:
            return  # a share that is no number
    assert answer.value == one
    assert type(answer.value) in (bool, float, int, type(None))


def test_one_question_is_asked_only_where_it_answers_both() -> None:
    assert decides_by_share(preprocessing.StandardScaler() | undersampled(preprocessing.MinMaxScaler() | logistic()))
    assert decides_by_share(imblearn.HardSamplingClassifier(logistic(), 20, 0.3))
    assert not decides_by_share(undersampled(preprocessing.MinMaxScaler() | Threshold(logistic())))
    patched = logistic()
    patched.predict_one = lambda x: True
    assert not decides_by_share(patched)


def test_a_binary_model_of_other_classes_is_named_with_the_way_out() -> None:
    face = wrap(sk(sgd("log_loss"), ["no", "yes"])(), "binary")
    with pytest.raises(ModelError, match="the class 'no': a binary stream teaches False and True"):
        face.predict({"a": 1.0})


@pytest.mark.parametrize("bug", [AttributeError("'NoneType' object has no attribute 'lower'"), KeyError("a")])
def test_an_error_of_the_model_is_no_lack_of_shares(bug: Exception) -> None:
    class Broken(Threshold):
        def predict_proba_one(self, x: Any, **kwargs: Any) -> Any:
            raise bug

        def predict_one(self, x: Any, **kwargs: Any) -> Any:
            return True

    with pytest.raises(type(bug)):
        wrap(Broken(logistic()), "binary").predict({"a": 1.0})


def test_fingerprints_are_taken_of_classes_as_the_model_spells_them() -> None:
    """So a version that was written when 0 and 1 went out as such is still what its manifest says."""
    face = wrap(sk(sgd("log_loss"), [0, 1])(), "binary")
    for x, y in rows("binary", 20):
        face.learn(x, y, 1.0)
    said = face.as_said({"a": 1.0, "b": 0.0})
    assert [repr(label) for label in said.probabilities or ()] == ["0", "1"]
    assert list(face.predict({"a": 1.0, "b": 0.0}).probabilities or ()) == [False, True]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::RuntimeWarning")
def test_estimators_of_scikit_learn_are_saved_and_answer_as_before() -> None:
    rng = random.Random(5)
    seen = 0
    for model in estimators():
        for number in range(40):
            model.learn_one({"a": rng.random(), "b": rng.random()}, number % 2 == 0)
        again, x = loads(dumps(model)), {"a": 0.3, "b": 0.9}
        assert again.predict_one(x) == model.predict_one(x)
        seen += 1
    assert seen >= 20
