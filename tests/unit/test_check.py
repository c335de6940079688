"""What `check` says of models that are right, and of each way in which one can be wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from user_files import forgetful, write_stream

from millstream.check.check import CheckReport, check
from millstream.stream.load import load_stream

__all__ = ["forgetful"]

EVENTS = 120
LR = "preprocessing.StandardScaler() | linear_model.LogisticRegression()"


def report(
    folder: Path, model: str, more: str = "", *, task: str = "binary", before: str = "", place: Path | None = None
) -> CheckReport:
    sys.modules.pop("userfile", None)  # a test may write the file several times
    stream = load_stream(write_stream(folder, model, more, task=task, before=before))
    return check(stream, EVENTS, None if place is None else str(place))


def said(found: CheckReport, severity: str, about: str) -> str:
    return "\n".join(each.text for each in found.findings if (each.severity, each.about) == (severity, about))


@pytest.mark.parametrize(
    ("model", "task"),
    [
        (LR, "binary"),
        ("naive_bayes.GaussianNB()", "binary"),
        ("tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1)", "binary"),
        ("forest.ARFClassifier(n_models=3, seed=1)", "binary"),
        ("neighbors.KNNClassifier(engine=neighbors.LazySearch(window_size=50))", "binary"),
        ("facto.FMClassifier(seed=1)", "binary"),
        ("naive_bayes.GaussianNB()", "multiclass"),
        ("preprocessing.StandardScaler() | linear_model.SoftmaxRegression()", "multiclass"),
        ("forest.AMFClassifier(n_estimators=3, seed=1)", "multiclass"),
        ("preprocessing.StandardScaler() | linear_model.LinearRegression()", "regression"),
        ("forest.ARFRegressor(n_models=3, seed=1)", "regression"),
        ("preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(n_trees=3, height=4, seed=1)", "anomaly"),
    ],
)
def test_models_that_can_be_trusted_have_no_error_and_no_warning(tmp_path: Path, model: str, task: str) -> None:
    found = report(tmp_path, model, task=task)
    assert found.errors == ()
    assert found.warnings == ()
    assert found.events >= 60
    assert not found.predict_on_copy
    assert "to the last bit" in said(found, "ok", "builds")
    assert "continues to learn the same" in said(found, "ok", "saves")


@pytest.mark.parametrize("name", ["phishing", "bananas", "elec2", "image-segments", "trump-approval", "shuttle"])
def test_ready_made_streams_pass(name: str) -> None:
    found = check(load_stream(name), EVENTS)
    assert (found.errors, found.warnings) == ((), ())


def test_a_text_pipeline_is_tried_on_texts(tmp_path: Path) -> None:
    model = "compose.FuncTransformer(text_of) | feature_extraction.BagOfWords() | naive_bayes.MultinomialNB()"
    found = report(tmp_path, model, before="def text_of(x):\n    return x['text'].lower()")
    assert found.errors == ()
    assert "1 of them text" in found.origin


def test_text_without_a_name_for_its_feature_is_refused_with_the_way_out(tmp_path: Path) -> None:
    found = report(tmp_path, "feature_extraction.TFIDF() | naive_bayes.MultinomialNB()")
    assert "TFIDF has no on=" in said(found, "error", "events")


def test_events_are_made_from_the_contract(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        "compose.FuncTransformer(strict) | preprocessing.OneHotEncoder() | linear_model.LogisticRegression()",
        """features={
            "age": Feature(type="integer", minimum=18, maximum=20, required=True),
            "share": Feature(type="number", minimum=-0.5, required=True),
            "cold": Feature(type="number", maximum=-273.0, required=True),
            "country": Feature(type="string", categories=("ch", "de"), required=True),
            "vip": Feature(type="boolean", required=True),
        }""",
        before="""
        def strict(x):
            assert set(x) == {"age", "share", "cold", "country", "vip"}
            assert 18 <= x["age"] <= 20 and isinstance(x["age"], int)
            assert x["share"] >= -0.5 and x["cold"] <= -273.0
            assert x["country"] in ("ch", "de") and isinstance(x["vip"], bool)
            return {"country": x["country"], "vip": x["vip"]}
        """,
    )
    assert found.errors == ()
    assert found.origin == "events made from the contract"


def test_ids_of_the_contract_are_made_up_as_whole_numbers(tmp_path: Path) -> None:
    least = 1234567890123456001
    more = (
        f'features={{"user": Feature(type="integer", minimum={least}), "n": Feature(type="integer", maximum={least})}}'
    )
    found = report(tmp_path, "naive_bayes.GaussianNB()", more)
    assert (found.errors, found.warnings) == ((), ())


def test_a_model_that_cannot_do_without_a_feature_is_warned_of(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        "compose.FuncTransformer(ratio) | linear_model.LogisticRegression()",
        'features={"a": Feature(minimum=1, maximum=2, required=True), "b": Feature(minimum=1, maximum=2)}',
        before="def ratio(x):\n    return {'r': x['a'] / x['b']}",
    )
    assert found.errors == ()
    assert "without 'b'" in said(found, "warning", "events")
    assert "to the last bit" in said(found, "ok", "builds")


def test_a_model_that_raises_on_every_event_is_an_error(tmp_path: Path) -> None:
    found = report(
        tmp_path,
        "compose.FuncTransformer(bad) | linear_model.LogisticRegression()",
        before="""
        def bad(x):
            raise ZeroDivisionError("of my own")
        """,
    )
    assert "ZeroDivisionError: of my own" in said(found, "error", "events")


def test_a_model_without_a_finite_answer_to_what_it_has_never_seen_is_warned_of(tmp_path: Path) -> None:
    found = report(tmp_path, "preprocessing.MinMaxScaler() | linear_model.LogisticRegression()")
    assert found.errors == ()
    assert "before it has learned an example" in said(found, "warning", "events")
    assert "probability of nan): such events get an error" in said(found, "warning", "predicts")
    assert "continues to learn the same" in said(found, "ok", "saves")


def test_a_model_without_any_finite_answer_is_an_error(tmp_path: Path) -> None:
    before = "def nan(x):\n    return {'x': float('nan')}"
    found = report(tmp_path, "compose.FuncTransformer(nan) | linear_model.LogisticRegression()", before=before)
    assert "an answer to none of" in said(found, "error", "events")


# --- texts of a form, and real rows -----------------------------------------------------------------

WHEN = """
import datetime

def parts(x):
    return {"month": datetime.datetime.strptime(x["when"], FORM).month, "n": len(x["name"])}
"""
DATED = f"compose.FuncTransformer(parts) | {LR}"
TEXTS = 'features={"when": Feature(type="string", required=True), "name": Feature(type="string", required=True)}'


def test_a_model_that_wants_dates_is_tried_on_dates(tmp_path: Path) -> None:
    found = report(tmp_path, DATED, TEXTS, before=f'{WHEN}\nFORM = "%Y-%m-%d"')
    assert (found.errors, found.warnings) == ((), ())
    assert found.origin == "events made from the contract, dates for 'when'"


def test_a_model_that_takes_no_made_up_text_is_tried_on_real_rows(tmp_path: Path) -> None:
    before = f'{WHEN}\nFORM = "%d %b %Y"'
    found = report(tmp_path, DATED, TEXTS, before=before)
    assert found.errors == ()
    assert "`millstream check userfile.py --from FILE` tries it on real rows" in said(found, "warning", "events")
    rows = tmp_path / "rows.csv"
    rows.write_text("when,name,label\n" + "".join(f"{1 + n % 28} Mar 2024,x{n},{n % 2}\n" for n in range(90)))
    real = report(tmp_path, DATED, TEXTS, before=before, place=rows)
    assert (real.errors, real.warnings) == ((), ())
    assert (real.events, real.origin) == (90, f"events of {rows}")


def test_real_rows_that_the_model_or_the_stream_does_not_take_are_named(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("when,name,label\n" + "2024-03-01,x,1\n" * 70 + ",y,0\n2024-03-01,z,2\n")
    found = report(tmp_path, DATED, TEXTS, before=f'{WHEN}\nFORM = "%Y-%m-%d"', place=rows)
    text = said(found, "warning", "events")
    assert "2 rows are no events of this stream; the first: " in text
    assert "rows.csv, line 72: feature 'when'" in text
    found = report(tmp_path, DATED, TEXTS, before=f'{WHEN}\nFORM = "%d %b %Y"', place=rows)
    assert "does not match format" in said(found, "error", "events")
    assert "--from: " in said(report(tmp_path, LR, place=tmp_path / "none.csv"), "error", "events")


@pytest.mark.parametrize("wrong", ['x["when"] + 1', 'x["no such"]', "no_such_name"])
def test_what_any_text_would_raise_is_an_error(tmp_path: Path, wrong: str) -> None:
    before = f"def parts(x):\n    return {{'a': {wrong}}}"
    assert "the model raised" in said(report(tmp_path, DATED, TEXTS, before=before), "error", "events")


# --- the contract -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('time="at", features={"at": Feature(required=True)}', "time='at' takes this column of files out of"),
        ('id="at", features={"at": Feature(required=True)}', "id='at' takes this column"),
        ('label="at", features={"at": Feature(required=True)}', "label='at' takes this column"),
        (
            'features=Source(topic="t", time="at", contract={"at": Feature(required=True)})',
            "time='at' takes this path out of",
        ),
        (
            'features=Source(topic="t", fields={"x": "y"}, contract={"y": Feature(required=True)})',
            "features='y' is none of the names in fields=",
        ),
    ],
)
def test_a_required_feature_that_no_event_can_have_is_an_error(tmp_path: Path, more: str, says: str) -> None:
    found = report(tmp_path, LR, more)
    assert says in said(found, "error", "contract")
    optional = report(tmp_path, LR, more.replace("required=True", ""))
    assert optional.errors == ()
    assert says in said(optional, "warning", "contract")


# --- saving ------------------------------------------------------------------------------------------


def test_a_lambda_is_named_with_the_way_out(tmp_path: Path) -> None:
    found = report(tmp_path, "compose.FuncTransformer(lambda x: {'n': len(x)}) | linear_model.LogisticRegression()")
    text = said(found, "error", "saves")
    assert ".func is a lambda" in text
    assert "write it as a def or class at the top of userfile.py" in text


def test_a_local_function_is_named_with_the_way_out(tmp_path: Path) -> None:
    before = "def make():\n    def inner(x):\n        return x\n    return inner"
    found = report(tmp_path, "compose.FuncTransformer(make()) | linear_model.LogisticRegression()", before=before)
    assert "inner, defined inside a function" in said(found, "error", "saves")


def test_a_def_of_the_file_is_all_right(tmp_path: Path) -> None:
    before = "def count(x):\n    return {'n': len(x)}"
    found = report(tmp_path, "compose.FuncTransformer(count) | linear_model.LogisticRegression()", before=before)
    assert found.errors == ()


def test_what_the_restricted_loader_refuses_is_named(tmp_path: Path) -> None:
    model = "compose.TargetTransformRegressor(linear_model.LinearRegression(), math.log, math.exp)"
    found = report(tmp_path, model, task="regression", before="import math")
    assert "the pickle names math." in said(found, "error", "saves")
    assert "from a def of this file" in said(found, "error", "saves")


def test_a_model_that_loses_something_when_saved_is_an_error(tmp_path: Path) -> None:
    before = """
    class Forgetful(linear_model.LogisticRegression):
        def __getstate__(self):
            return {**self.__dict__, "intercept": 0.0}
    """
    found = report(tmp_path, "Forgetful()", before=before)
    assert "does not continue like the original" in said(found, "error", "saves")


# --- building ----------------------------------------------------------------------------------------


def test_the_same_object_each_time_is_an_error(tmp_path: Path) -> None:
    found = report(tmp_path, "one", before="one = linear_model.LogisticRegression()")
    assert "same object each time" in said(found, "error", "builds")


def test_a_part_shared_by_two_builds_is_an_error(tmp_path: Path) -> None:
    before = "scaler = preprocessing.StandardScaler()"
    found = report(tmp_path, "compose.Pipeline(scaler, linear_model.LogisticRegression())", before=before)
    assert "two builds share a part" in said(found, "error", "builds")


def test_an_unseeded_model_is_warned_of_by_name(tmp_path: Path) -> None:
    found = report(tmp_path, "forest.ARFRegressor(n_models=3)", task="regression")
    assert found.errors == ()
    assert "ARFRegressor (model)" in said(found, "warning", "seeds")
    assert "have no seed" in said(found, "warning", "builds")
    assert "continues to learn the same" in said(found, "ok", "saves"), "its generator is saved with it"


def test_the_default_engine_of_nearest_neighbours_is_named_as_unseeded(tmp_path: Path) -> None:
    found = report(tmp_path, "preprocessing.StandardScaler() | neighbors.KNNClassifier()")
    assert found.errors == ()
    assert "SWINN (model[KNNClassifier].engine)" in said(found, "warning", "seeds")


def test_chance_in_the_users_own_code_is_an_error(tmp_path: Path) -> None:
    before = "import random\ndef noisy(x):\n    return {k: v + random.random() for k, v in x.items()}"
    found = report(tmp_path, "compose.FuncTransformer(noisy) | linear_model.LogisticRegression()", before=before)
    assert "nothing in them is unseeded" in said(found, "error", "builds")


SKLEARN = "from river import compat\nfrom sklearn.linear_model import SGDClassifier"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("", "ROCAUC, LogLoss have no value here"),
        ("evaluation=Evaluation(metrics=lambda: metrics.F1() + metrics.Accuracy()),", ""),
    ],
)
def test_a_model_without_shares_is_fit_and_the_metrics_over_them_are_named(
    tmp_path: Path, more: str, says: str
) -> None:
    model = "compat.convert_sklearn_to_river(SGDClassifier(random_state=1), classes=[False, True])"
    found = report(tmp_path, model, more, before=SKLEARN)
    assert found.errors == ()
    assert said(found, "warning", "metrics").partition(":")[0] == says


def test_classes_out_of_order_are_an_error_for_their_shares_would_be_exchanged(tmp_path: Path) -> None:
    model = "compat.convert_sklearn_to_river(SGDClassifier(loss='log_loss', random_state=1), classes=[True, False])"
    found = report(tmp_path, model, before=SKLEARN)
    assert "write classes=[False, True]" in said(found, "error", "classes")


# --- predicting --------------------------------------------------------------------------------------

COUNTING = """
class Counting(preprocessing.StandardScaler):
    def transform_one(self, x):
        self.learn_one(x)
        return super().transform_one(x)
"""
HOARDING = """
class Hoarding(linear_model.LogisticRegression):
    def predict_proba_one(self, x):
        self.asked = getattr(self, "asked", []) + [dict(x)]
        return super().predict_proba_one(x)
"""


def test_a_model_that_predicting_changes_is_an_error_and_marked(tmp_path: Path) -> None:
    found = report(tmp_path, "Counting() | linear_model.LogisticRegression()", before=COUNTING)
    assert found.predict_on_copy
    assert "predicting changes what the model learns" in said(found, "error", "predicts")


def test_a_model_that_only_grows_by_predicting_is_warned_of(tmp_path: Path) -> None:
    found = report(tmp_path, "Hoarding()", before=HOARDING)
    assert found.errors == ()
    assert not found.predict_on_copy
    assert "predicting adds to it" in said(found, "warning", "predicts")


def test_transformers_are_said_to_learn_with_the_model(tmp_path: Path) -> None:
    found = report(tmp_path, LR)
    assert said(found, "ok", "transformers").startswith("StandardScaler learns with the model")


@pytest.mark.parametrize(
    "part",
    [
        "feature_extraction.TargetAgg(by='country', how=stats.Mean())",
        "feature_extraction.Agg(on='amount', by='country', how=utils.Rolling(stats.Mean, window_size=3))",
        "preprocessing.PreviousImputer()",
    ],
)
def test_a_feature_over_time_inside_the_model_is_warned_of_once(tmp_path: Path, part: str) -> None:
    found = report(tmp_path, f"{part} | preprocessing.StandardScaler() | linear_model.LogisticRegression()")
    assert found.errors == ()
    text = said(found, "warning", "time")
    assert "keeps a feature over time inside the model" in text
    assert text.count("\n") == 0


def test_a_window_of_time_is_an_error(tmp_path: Path) -> None:
    part = "feature_extraction.Agg(on='a', by='b', how=utils.TimeRolling(stats.Mean, datetime.timedelta(days=7)))"
    found = report(tmp_path, f"{part} | linear_model.LogisticRegression()", before="import datetime")
    assert "is a TimeRolling" in said(found, "error", "time")


# --- weight and metrics ------------------------------------------------------------------------------


def test_a_weight_that_the_model_takes_is_all_right(tmp_path: Path) -> None:
    assert "LogisticRegression takes" in said(report(tmp_path, LR, "weight={True: 20.0}"), "ok", "weight")


@pytest.mark.parametrize(
    ("model", "more", "task", "text"),
    [
        ("naive_bayes.GaussianNB()", "weight={True: 2.0}", "binary", "GaussianNB.learn_one takes no weight"),
        (LR, "weight={'yes': 2.0}", "binary", "weight= names 'yes'"),
        (LR, "weight={True: -1.0}", "binary", "weight= gave -1.0"),
        (LR, "weight=lambda x, y: 1 / 0", "binary", "weight= raised ZeroDivisionError"),
        (LR, "weight=lambda x, y: None", "binary", "weight= gave None"),
        ("anomaly.HalfSpaceTrees(seed=1)", "weight={True: 2.0}", "anomaly", "has no meaning"),
        (
            "tree.HoeffdingTreeClassifier()",
            "classes=('a', 'b'), weight={'a': 2.0, 'c': 2.0}",
            "multiclass",
            "weight= names 'c', which is not among classes=",
        ),
    ],
)
def test_a_weight_that_does_nothing_or_is_none_is_an_error(
    tmp_path: Path, model: str, more: str, task: str, text: str
) -> None:
    assert text in said(report(tmp_path, model, more, task=task), "error", "weight")


@pytest.mark.parametrize(
    ("more", "severity", "text"),
    [
        ("evaluation=Evaluation(metrics=lambda: metrics.Accuracy() + metrics.F1())", "ok", "Accuracy, F1"),
        ("evaluation=Evaluation(metrics=lambda: metrics.MAE())", "error", "MAE, which is no metric over classes"),
        ("evaluation=Evaluation(metrics=lambda: 1 / 0)", "error", "ZeroDivisionError"),
    ],
)
def test_metrics_must_fit_the_task(tmp_path: Path, more: str, severity: str, text: str) -> None:
    assert text in said(report(tmp_path, LR, more), severity, "metrics")


def test_a_source_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    found = report(tmp_path, LR, before='SOURCE = "river:NoSuchSet"')
    assert "SOURCE: river:NoSuchSet is no data set" in said(found, "error", "events")


@pytest.mark.parametrize(
    ("watch", "warned"),
    [
        ('reference="1m", window="5s"', "has 12 windows; 20 are needed"),
        ('reference="100s", window="5s"', ""),
        ('reference="2026-11-01 to 2026-11-02", window="2h"', "has 12 windows; 20 are needed"),
        ('reference="5d", window="1d"', ""),
        ('reference="epoch 1"', ""),
    ],
)
def test_a_reference_of_too_few_windows_is_named_with_the_way_out(tmp_path: Path, watch: str, warned: str) -> None:
    found = report(tmp_path, LR, f"watch=Watch({watch})", before="from millstream import Watch")
    text = said(found, "warning", "watch")
    assert bool(text) == bool(warned)
    assert warned in text
    if "1m" in watch:
        assert "make it '100s' or longer, or window= shorter" in text
