"""A version that answers from a process of its own: the same answers, the same refusals, and doubt where it is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from river import linear_model, naive_bayes, preprocessing, tree
from store_parts import draft, version

from consumers import feed
from consumers.apart import ModelApart
from consumers.checkpoints import Definition
from consumers.failures import Doubt
from consumers.feed import Known, VersionFeed
from consumers.predictor import ServedVersion, _ask
from consumers.river_model import ModelError, RiverModel, wrap
from millstream.apart import starter
from millstream.settings import Settings
from model_store import Manifest, ModelStore, Refused, dumps, open_store
from schemas.events import ModelUpdate, Published
from schemas.target import Task

EVENTS: list[dict[str, Any]] = [{"x": float(n % 7), "y": 1.0 / (n + 1)} for n in range(40)]
MODELS: dict[str, tuple[Task, Callable[[], Any], Callable[[int], Any]]] = {
    "logistic": (
        "binary", lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(), lambda n: n % 7 > 3,
    ),
    "classes": ("multiclass", naive_bayes.GaussianNB, lambda n: "abc"[n % 3]),
    "numbers": ("multiclass", lambda: tree.HoeffdingTreeClassifier(grace_period=5), lambda n: n % 3),
    "regression": ("regression", lambda: preprocessing.StandardScaler() | linear_model.LinearRegression(), float),
}  # fmt: skip


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


@pytest.fixture
def store(settings: Settings) -> ModelStore:
    return open_store(settings.models, settings.keys, sign=True)


def trained(kind: str) -> Any:
    _, make, label = MODELS[kind]
    model = make()
    for number, features in enumerate(EVENTS):
        model.learn_one(features, label(number))
    return model


def start(settings: Settings, task: Task, manifest: Manifest) -> RiverModel:
    loaded: Any = SimpleNamespace(stream=SimpleNamespace(task=task), allowed=frozenset(), path="", module="")
    return starter(loaded, settings)(manifest, None)


@pytest.fixture
def apart(settings: Settings, store: ModelStore) -> Iterator[Callable[..., ModelApart]]:
    """Return what publishes a model and has it answer from its process."""
    started: list[Any] = []

    def answer(task: Task, model: Any, extra: dict[str, Any] | None = None) -> Any:
        manifest = store.publish(draft(version(1, len(started)), extra=extra or {}), {"model": dumps(model)})
        started.append(start(settings, task, manifest))
        return started[-1]

    yield answer
    for each in started:
        each.close()


def test_of_several_asked_ahead_each_gets_its_own_answer(apart: Callable[..., ModelApart]) -> None:
    here, there = wrap(trained("logistic"), "binary"), apart("binary", trained("logistic"))
    several = [*EVENTS, {"x": "a text"}, {"y": 0.5}]
    there.ahead(several)
    for features in EVENTS:
        assert there.predict(features) == here.predict(features)
    assert there.predict({"x": 3.0}) == here.predict({"x": 3.0}), "one that was not announced"
    there.ahead(several[-2:])
    with pytest.raises(Exception, match=r"numeric|float|str"):
        there.predict(several[-2])
    assert there.predict(several[-1]) == here.predict({"y": 0.5})
    there.ahead([])


@pytest.mark.parametrize("kind", MODELS)
def test_it_answers_as_it_would_here_to_the_last_bit(apart: Callable[..., ModelApart], kind: str) -> None:
    task = MODELS[kind][0]
    here, there = wrap(trained(kind), task), apart(task, trained(kind))
    for features in [*EVENTS, {}, {"x": -0.0, "new": 1e300}]:
        mine, theirs = here.predict(features), there.predict(features)
        assert repr(theirs) == repr(mine)
        assert theirs.wire_probabilities() == mine.wire_probabilities()


def test_what_the_model_raises_has_its_name_and_words(apart: Callable[..., ModelApart]) -> None:
    there = apart("binary", trained("logistic"))
    with pytest.raises(Exception, match=r"numeric|float|str") as raised:
        there.predict({"x": "a text"})
    with pytest.raises(Exception, match=r"numeric|float|str") as here:
        wrap(trained("logistic"), "binary").predict({"x": "a text"})
    assert (type(raised.value).__name__, str(raised.value)) == (type(here.value).__name__, str(here.value))
    assert there.predict({"x": 1.0}).value is not None


def test_a_version_that_is_refused_there_is_refused_here(settings: Settings, store: ModelStore) -> None:
    manifest = store.publish(draft(version(1, 1)), {"model": dumps(os.path.join)})
    with pytest.raises(Refused, match="which no model of this stream needs"):
        start(settings, "binary", manifest)
    broken = store.publish(draft(version(1, 2), extra={"probe": [{"x": 1.0}]}), {"model": dumps({"no": "model"})})
    with pytest.raises(ModelError, match="does not answer"):
        start(settings, "binary", broken)
    with pytest.raises(Exception, match="has no version"):
        start(settings, "binary", _named_otherwise(manifest))


def _named_otherwise(manifest: Manifest) -> Any:
    return SimpleNamespace(version=version(7, 7))


def test_doubt_where_its_process_is_gone_and_no_answer_of_error(apart: Callable[..., ModelApart]) -> None:
    there = apart("binary", trained("logistic"))
    os.kill(there._process.pid, signal.SIGKILL)
    with pytest.raises(Doubt, match="has ended"):
        _ask(ServedVersion(there, "m", 1, 5, 0, None), {"x": 1.0})


def test_its_process_ends_with_the_version(apart: Callable[..., ModelApart]) -> None:
    there = apart("binary", trained("logistic"))
    process = psutil.Process(there._process.pid)
    there.close()
    process.wait(20)


def test_large_versions_alone_are_served_apart(
    settings: Settings, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "LARGE_BYTES", 800)
    sizes: list[int] = []

    def note(manifest: Manifest, sha256: str | None) -> RiverModel:
        assert sha256 == store.manifest_sha256(manifest.version)
        sizes.append(manifest.files["model"].size)
        return wrap(trained("logistic"), "binary")

    versions = VersionFeed(store, Definition("m", "d", "c"), "binary", apart=note, say=lambda line: None)
    for examples, model in ((1, linear_model.LogisticRegression()), (2, trained("logistic"))):
        manifest = store.publish(draft(version(1, examples)), {"model": dumps(model)})
        versions.follow(_announcing(manifest, store))
        assert versions.newest() is not None
    assert sizes == [manifest.files["model"].size]


def _announcing(manifest: Manifest, store: ModelStore) -> Known:
    known, of = Known(), manifest.version
    state = Published("m", 0, of.epoch, of.examples, "", 0, store.manifest_sha256(of), -1, -1, {})
    known.take(state.key.encode(), ModelUpdate(0, state).encode())
    return known
