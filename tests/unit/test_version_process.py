"""A version that answers from a process of its own: the same answers and refusals, also where the process ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from deadly_model import DEADLY, EXIT, ONCE, deadly_process
from river import linear_model, naive_bayes, preprocessing, tree
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression as SkLogisticRegression
from sklearn.pipeline import make_pipeline
from store_parts import draft, version

from consumers.model import version_loader
from consumers.model.checkpoints import Definition, cpu_name
from consumers.model.estimator_model import RowForm, wrap_estimator
from consumers.model.fingerprint import fingerprint
from consumers.model.models_topic_state import Known
from consumers.model.river_model import ModelError, RiverModel, wrap
from consumers.model.version_loader import VersionLoader
from consumers.model.version_runtime import RunWith
from consumers.predictor.model_feed import VersionFeed
from consumers.predictor.model_process import RaisedThere, VersionProcess
from consumers.predictor.predictor import ServedVersion, ask
from millstream.config.settings import Settings
from millstream.processes.model_process_main import starter
from model_store import Manifest, ModelStore, StoreUnavailable, VersionRefused, dumps, dumps_estimator, open_store
from runtime.exits import Doubt
from schemas.model_updates import ModelUpdate, Published
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
    loaded: Any = SimpleNamespace(
        stream=SimpleNamespace(task=task),
        allowed=frozenset(),
        path="",
        module="",
        definition="d",
        find=None,
        each_model=(),
    )
    return starter(loaded, settings, lambda each: RunWith())(manifest, None)


@pytest.fixture
def answering(settings: Settings, store: ModelStore) -> Iterator[Callable[..., VersionProcess]]:
    """Return what publishes a model and has it answer from its process."""
    started: list[Any] = []

    def answer(task: Task, model: Any, extra: dict[str, Any] | None = None) -> Any:
        manifest = store.publish(draft(version(1, len(started)), extra=extra or {}), {"model": dumps(model)})
        started.append(start(settings, task, manifest))
        return started[-1]

    yield answer
    for each in started:
        each.close()


def test_of_several_asked_ahead_each_gets_its_own_answer(answering: Callable[..., VersionProcess]) -> None:
    here, there = wrap(trained("logistic"), "binary"), answering("binary", trained("logistic"))
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
def test_it_answers_as_it_would_here_to_the_last_bit(answering: Callable[..., VersionProcess], kind: str) -> None:
    task = MODELS[kind][0]
    here, there = wrap(trained(kind), task), answering(task, trained(kind))
    for features in [*EVENTS, {}, {"x": -0.0, "new": 1e300}]:
        mine, theirs = here.predict(features), there.predict(features)
        assert repr(theirs) == repr(mine)
        assert theirs.wire_probabilities() == mine.wire_probabilities()


def test_what_the_model_raises_has_its_name_and_words(answering: Callable[..., VersionProcess]) -> None:
    there = answering("binary", trained("logistic"))
    with pytest.raises(Exception, match=r"numeric|float|str") as raised:
        there.predict({"x": "a text"})
    with pytest.raises(Exception, match=r"numeric|float|str") as here:
        wrap(trained("logistic"), "binary").predict({"x": "a text"})
    assert (type(raised.value).__name__, str(raised.value)) == (type(here.value).__name__, str(here.value))
    assert there.predict({"x": 1.0}).value is not None


def test_a_version_that_is_refused_there_is_refused_here(settings: Settings, store: ModelStore) -> None:
    manifest = store.publish(draft(version(1, 1)), {"model": dumps(os.path.join)})
    with pytest.raises(VersionRefused, match="which no model of this stream needs"):
        start(settings, "binary", manifest)
    broken = store.publish(draft(version(1, 2), extra={"probe": [{"x": 1.0}]}), {"model": dumps({"no": "model"})})
    with pytest.raises(ModelError, match="does not answer"):
        start(settings, "binary", broken)
    with pytest.raises(Exception, match="has no version"):
        start(settings, "binary", _named_otherwise(manifest))


def _named_otherwise(manifest: Manifest) -> Any:
    return SimpleNamespace(version=version(7, 7), files={})


def test_a_process_that_is_killed_is_started_again_and_gives_the_same_answers(
    answering: Callable[..., VersionProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = wrap(trained("logistic"), "binary"), answering("binary", trained("logistic"))
    for _ in range(2):
        os.kill(there._process.pid, signal.SIGKILL)
        there.ahead(EVENTS)
        assert [repr(there.predict(features)) for features in EVENTS] == [repr(here.predict(each)) for each in EVENTS]
    said = "the process of a version has ended (-9): it is started and asked again"
    assert capsys.readouterr().out.splitlines() == [said] * 2


def test_doubt_where_its_process_does_not_start_again(
    answering: Callable[..., VersionProcess], settings: Settings
) -> None:
    there = answering("binary", trained("logistic"))
    shutil.rmtree(settings.models)
    os.kill(there._process.pid, signal.SIGKILL)
    with pytest.raises(Doubt, match=r"has ended \(-9\) and does not start again"):
        ask(ServedVersion(there, "m", 1, 5, 0, None), {"x": 1.0})


LOADS_NICELY = """
import os, threading
os.nice(15)
from millstream.processes import model_process_main as main
main.load = lambda request: print(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
main._load_into(None, [])
"""


def test_loading_never_raises_a_priority_because_only_the_superuser_may() -> None:
    done = subprocess.run([sys.executable, "-c", LOADS_NICELY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "15", done.stderr


def test_a_version_that_was_closed_is_not_started_again(answering: Callable[..., VersionProcess]) -> None:
    there = answering("binary", trained("logistic"))
    there.close()
    before = psutil.Process().children()
    with pytest.raises(Doubt, match="was ended with its version"):
        there.predict({"x": 1.0})
    assert psutil.Process().children() == before


@pytest.mark.parametrize("deadly", [DEADLY, EXIT])
def test_an_event_that_ends_each_process_has_an_error_and_the_others_their_answers(
    deadly: float, tmp_path: Path
) -> None:
    said: list[str] = []
    there = deadly_process(tmp_path / "killed", said.append)
    events = [{"x": x} for x in (1.0, deadly, ONCE, 2.0, deadly)]
    for _ in range(2):
        there.ahead(events)
        for event in events:
            if event["x"] != deadly:
                assert there.predict(event).value == event["x"]
                continue
            how = "by signal 11" if deadly == DEADLY else "with exit code 3"
            with pytest.raises(RaisedThere, match=f"the model's process ends at this event, {how}") as raised:
                there.predict(event)
            assert type(raised.value).__name__ == "ProcessEnded"
    code = -11 if deadly == DEADLY else 3
    assert said == [f"the process of a version has ended ({code}): it is started and asked again"]
    there.close()


def test_an_event_at_which_its_process_was_killed_once_is_answered(tmp_path: Path) -> None:
    there = deadly_process(tmp_path / "killed", lambda line: None)
    assert there.predict({"x": ONCE}).value == ONCE
    there.close()


def test_its_process_ends_with_the_version(answering: Callable[..., VersionProcess]) -> None:
    there = answering("binary", trained("logistic"))
    process = psutil.Process(there._process.pid)
    there.close()
    process.wait(20)


HANGS = [sys.executable, "-c", "import time; print(end='', flush=True); time.sleep(600)"]


def test_a_process_that_does_not_come_to_an_end_with_loading_is_ended() -> None:
    before = psutil.Process().children()
    with pytest.raises(StoreUnavailable, match=r"had not loaded it after 0\.2 s and was ended"):
        VersionProcess(HANGS, os.environ, b"", 0.2)
    left = [each for each in psutil.Process().children() if each not in before]
    assert not [each for each in left if each.status() != psutil.STATUS_ZOMBIE]


def test_a_process_that_ends_before_it_has_loaded_is_told_from_one_that_hangs() -> None:
    with pytest.raises(StoreUnavailable, match=r"has ended \(3\)"):
        VersionProcess([sys.executable, "-c", "raise SystemExit(3)"], os.environ, b"", 60)


def test_one_that_hangs_keeps_nothing_else_from_being_served(
    settings: Settings, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said once, tried again later: each attempt costs its time, and as much goes to whatever else is announced."""
    monkeypatch.setattr(version_loader, "LARGE_BYTES", 800)
    now, tried, said = [0.0], [], []

    def hang(manifest: Manifest, sha256: str | None) -> RiverModel:
        now[0] += 90.0
        tried.append(manifest.version)
        return VersionProcess(HANGS, os.environ, b"", 0.1)

    versions = VersionFeed(
        store, Definition("m", "d", "c"), "binary", start_process=hang, say=said.append, clock=lambda: now[0]
    )
    small = store.publish(draft(version(1, 1)), {"model": dumps(linear_model.LogisticRegression())})
    large = store.publish(draft(version(1, 2)), {"model": dumps(trained("logistic"))})
    known = _announcing(small, store)
    versions.follow(known)
    _announcing(large, store, known)
    for _ in range(5):
        versions.follow(known)
        assert versions.newest().examples == 1  # type: ignore[union-attr]
        now[0] += 1.0
    assert tried == [large.version]
    assert len(said) == 1
    assert "1/1 serves on" in said[0]
    newer = store.publish(draft(version(1, 3)), {"model": dumps(linear_model.LogisticRegression())})
    versions.follow(_announcing(newer, store, known))
    assert versions.newest().examples == 3  # type: ignore[union-attr]
    assert tried == [large.version]


def test_large_versions_alone_are_served_apart(
    settings: Settings, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_loader, "LARGE_BYTES", 800)
    sizes: list[int] = []

    def note(manifest: Manifest, sha256: str | None) -> RiverModel:
        assert sha256 == store.manifest_sha256(manifest.version)
        sizes.append(manifest.files["model"].size)
        return wrap(trained("logistic"), "binary")

    versions = VersionFeed(store, Definition("m", "d", "c"), "binary", start_process=note, say=lambda line: None)
    for examples, model in ((1, linear_model.LogisticRegression()), (2, trained("logistic"))):
        manifest = store.publish(draft(version(1, examples)), {"model": dumps(model)})
        versions.follow(_announcing(manifest, store))
        assert versions.newest() is not None
    assert sizes == [manifest.files["model"].size]


def estimator(store: ModelStore, examples: int, make: Callable[[], Any]) -> Manifest:
    """Publish an estimator that was fitted on the events."""
    form = RowForm.of("dicts", EVENTS)
    fitted = make_pipeline(DictVectorizer(sparse=False), make())
    fitted.fit(form.matrix(EVENTS), [n % 7 > 3 for n in range(len(EVENTS))])
    probe = EVENTS[:4]
    probed = fingerprint(wrap_estimator(fitted, "binary", form), probe)
    extra = {"form": form.as_json(), "probe": probe, "probed": probed}
    return store.publish(
        draft(version(1, examples), cpu=cpu_name(), extra=extra), {"estimator": dumps_estimator(fitted)}
    )


def test_a_large_or_slow_estimator_is_served_apart_and_answers_the_same(
    settings: Settings, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = estimator(store, 40, SkLogisticRegression)

    def process(each: Manifest, sha256: str | None) -> RiverModel:
        return start(settings, "binary", each)

    def loaded() -> Any:
        return VersionLoader(store, "binary", lambda each: RunWith(), process).load(manifest, None)

    here = loaded()
    assert not here.apart
    for limit in ("LARGE_ESTIMATOR_BYTES", "SLOW_SECONDS"):
        with monkeypatch.context() as patch:
            patch.setattr(version_loader, limit, 0)
            there = loaded()
        assert there.apart
        there.face.ahead(EVENTS)
        assert [repr(there.face.predict(each)) for each in EVENTS] == [repr(here.face.predict(each)) for each in EVENTS]
        refused: list[dict[str, Any]] = [{"x": float("inf")}, {"x": "a text", "new": [1.0]}]
        there.face.ahead(refused)
        with pytest.raises(Exception, match="infinity"):
            there.face.predict(refused[0])
        assert there.face.predict(refused[1]) == here.face.predict(refused[1])
        there.face.close()


def _announcing(manifest: Manifest, store: ModelStore, known: Known | None = None) -> Known:
    known, of = known or Known(), manifest.version
    state = Published("m", 0, of.epoch, of.examples, "", 0, store.manifest_sha256(of), -1, -1, {})
    known.take(state.key.encode(), ModelUpdate(0, state).encode())
    return known
