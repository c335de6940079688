"""Whatever is on the models topic: predictors come to the newest good version and never go back by themselves."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from faults_table import Tally
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, preprocessing
from store_parts import OTHER, SIGNER, draft, publish, store_on, version

from consumers.model.checkpoints import Definition, cpu_name
from consumers.model.fingerprint import fingerprint
from consumers.model.models_topic_state import Known
from consumers.model.river_model import wrap
from consumers.predictor.model_feed import ModelsTopic, PauseSwitch, VersionFeed
from model_store import MemoryBackend, PublicKeys, StoreUnavailable, Trust, VersionId, dumps
from schemas.events import Label
from schemas.model_updates import Adopted, Decision, Learning, ModelUpdate, Published, Serving
from schemas.target import Task

GOOD = [version(1, 0), version(1, 10), version(1, 20), version(2, 0), version(2, 10)]

PROBE = {"probe": [{"x": 1.0}]}  # what a version is tried on


class Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    offset: int = 0


class Predictors:
    """A feed behind a models topic that is fed by hand."""

    def __init__(self, store: Any, task: Task = "binary") -> None:
        self.said: list[str] = []
        self.now = 0.0
        self.feed = VersionFeed(store, Definition("m", "d", "c"), task, self.said.append, lambda: self.now)
        self.topic = ModelsTopic(None, "m.models", self.feed.follow, self.said.append)  # type: ignore[arg-type]

    def take(self, *records: Record) -> VersionId | None:
        """Read records and then act on them, as the thread does."""
        for record in records:
            self.topic._take(record)
        self.feed.follow(self.topic._known)
        return self.serves()

    def serves(self) -> VersionId | None:
        return self.feed._version()


@pytest.fixture(scope="module")
def backend() -> MemoryBackend:
    """Return a place with five good versions, one of another's key, and one whose model is gone."""
    backend = MemoryBackend()
    store = store_on(backend)
    for of in GOOD:
        publish(store, of, labels_from_ms=1)
    publish(store_on(backend, OTHER, Trust.of(OTHER.public)), version(9, 9))
    publish(store, version(8, 8))
    backend.delete(f"m/objects/{store.manifest(version(8, 8)).files['model'].sha256}")
    return backend


@pytest.fixture
def predictors(backend: MemoryBackend) -> Predictors:
    return Predictors(store_on(backend, None))


def record(state: Decision, key: str | None = None) -> Record:
    return Record((key or state.key).encode(), ModelUpdate(5, state).encode())


def published(backend: MemoryBackend, of: VersionId, sha256: str | None = None) -> Record:
    sha256 = sha256 or store_on(backend).manifest_sha256(of)
    return record(announcement(of.epoch, of.examples, sha256))


def announcement(epoch: int, examples: int, sha256: str = "0" * 64, model: str = "m") -> Published:
    return Published(model, 0, epoch, examples, "topic", examples, sha256, -1, -1, {})


def serving(epoch: int | None, examples: int | None, model: str = "m") -> Record:
    return record(Serving(model, 0, epoch, examples, "me", "test"))


def test_the_newest_announced_serves_and_repeats_change_nothing(backend: MemoryBackend, predictors: Predictors) -> None:
    said = [published(backend, of) for of in GOOD]
    assert predictors.take(said[0]) == GOOD[0]
    first = predictors.feed.newest()
    assert predictors.take(said[0], said[0]) == GOOD[0]
    assert predictors.feed.newest() is first
    assert predictors.take(*said) == GOOD[-1]
    for old in said:
        assert predictors.take(old) == GOOD[-1]
    assert predictors.said == []


def test_a_predictor_that_starts_behind_a_replay_of_old_announcements_serves_the_newest(
    backend: MemoryBackend, predictors: Predictors
) -> None:
    said = [published(backend, of) for of in GOOD]
    assert predictors.take(*said, *said[:3]) == GOOD[-1]


def test_labels_that_another_epoch_learns_once_more_are_no_news() -> None:
    backend = MemoryBackend()
    store = store_on(backend)
    times = [(1, 10, 100, 200), (1, 20, 190, 300), (2, 0, 100, 150), (2, 5, 160, 320), (2, 9, 310, 330)]
    for epoch, examples, begin, end in times:
        publish(store, version(epoch, examples), labels_from_ms=begin, labels_to_ms=end)
    predictors = Predictors(store_on(backend, None))
    oldest: list[int | None] = []
    for epoch, examples, *_ in times:
        predictors.take(published(backend, version(epoch, examples)))
        served = predictors.feed.newest()
        assert served is not None
        oldest.append(None if served.delay_ms is None else served.since_ms - served.delay_ms)
    assert oldest == [None, 190, None, None, 310], "the first of a process, of an epoch, and what it catches up with"


def test_an_older_epoch_with_more_examples_is_older(backend: MemoryBackend, predictors: Predictors) -> None:
    assert predictors.take(published(backend, version(2, 0))) == version(2, 0)
    assert predictors.take(published(backend, version(1, 20))) == version(2, 0)


def test_after_the_decision_for_a_version_that_nobody_announced_the_newest_announced_serves(
    backend: MemoryBackend, predictors: Predictors
) -> None:
    """As one that was made anew, looked at by serving it, and not adopted."""
    predictors.take(published(backend, version(1, 10)), published(backend, version(1, 20)))
    assert predictors.take(serving(2, 10)) == version(2, 10)
    assert predictors.take(serving(None, None)) == version(1, 20)
    assert predictors.take(published(backend, version(1, 10))) == version(1, 20)


def test_what_is_adopted_is_kept_for_the_learner_of_that_model_alone() -> None:
    known, switch, other = Known(), PauseSwitch("m"), PauseSwitch("another")
    state = Adopted("m", 0, 2, 10, "me", "test")
    assert known.take(*record(state)[:2])
    switch.follow(known)
    other.follow(known)
    assert (switch.adopted(), other.adopted()) == (version(2, 10), None)


def test_a_tombstone_withdraws_nothing(backend: MemoryBackend, predictors: Predictors) -> None:
    predictors.take(published(backend, GOOD[1]))
    assert predictors.take(Record(b"published/m/0", None), Record(None, None), Record(b"serving/0", None)) == GOOD[1]


@pytest.mark.parametrize("epoch", [3, 999_999])
def test_forged_announcements_of_higher_versions_do_not_hide_the_true_ones(
    backend: MemoryBackend, predictors: Predictors, epoch: int
) -> None:
    predictors.take(published(backend, GOOD[1]))
    assert predictors.take(record(announcement(epoch, 7))) == GOOD[1]
    assert "1/10 serves on" in predictors.said[-1]
    assert predictors.take(published(backend, GOOD[2])) == GOOD[2]
    forged = [record(announcement(epoch, number)) for number in range(1000)]
    assert predictors.take(*forged, published(backend, GOOD[3])) == GOOD[3]


def test_a_version_of_a_key_that_is_not_trusted_is_refused(backend: MemoryBackend, predictors: Predictors) -> None:
    predictors.take(published(backend, GOOD[0]))
    assert predictors.take(published(backend, version(9, 9))) == GOOD[0]
    assert "not trusted" in predictors.said[0]


def test_a_version_whose_model_is_gone_leaves_the_next_best(backend: MemoryBackend, predictors: Predictors) -> None:
    assert predictors.take(published(backend, GOOD[2]), published(backend, version(8, 8))) == GOOD[2]
    assert "nothing serves yet" in predictors.said[0]


def test_a_wrong_hash_before_or_after_the_true_one_does_no_harm(backend: MemoryBackend, predictors: Predictors) -> None:
    wrong = published(backend, GOOD[2], "ab" * 32)
    assert predictors.take(wrong) is None
    assert "not the one that was announced" in predictors.said[-1]
    assert predictors.take(published(backend, GOOD[2]), wrong) == GOOD[2]
    assert predictors.take(wrong) == GOOD[2]


BAD_MODELS = ["../m", "m/../../x", "", "M", "m\0", "a" * 64, "-m", "m\n", "%2e%2e", "m/0"]


@pytest.mark.parametrize("model", BAD_MODELS)
def test_a_name_that_is_no_models_is_ignored_and_said(
    backend: MemoryBackend, predictors: Predictors, model: str
) -> None:
    predictors.take(published(backend, GOOD[1]))
    assert predictors.take(record(announcement(5, 5, model=model)), serving(1, 0, model)) == GOOD[1]
    assert predictors.take(serving(None, None, model)) == GOOD[1]
    assert [" is ignored: " in line for line in predictors.said] == [True] * 3


@pytest.mark.parametrize(("epoch", "examples"), [(-1, 0), (10**6, 0), (0, -5), (0, 10**15), (2**31 - 1, 2**62)])
def test_numbers_that_no_version_has_are_ignored(
    backend: MemoryBackend, predictors: Predictors, epoch: int, examples: int
) -> None:
    predictors.take(published(backend, GOOD[1]))
    assert predictors.take(record(announcement(epoch, examples)), serving(epoch, examples)) == GOOD[1]
    assert len(predictors.said) == 2


def test_what_is_under_anothers_key_is_ignored(backend: MemoryBackend, predictors: Predictors) -> None:
    state = announcement(1, 10, store_on(backend).manifest_sha256(version(1, 10)))
    assert predictors.take(record(state, "published/m/1"), record(state, "serving/0")) is None
    assert predictors.take(Record(None, ModelUpdate(5, state).encode())) is None


def test_a_decision_goes_back_and_its_end_forward(backend: MemoryBackend, predictors: Predictors) -> None:
    newest = published(backend, GOOD[-1])
    predictors.take(newest)
    assert predictors.take(serving(1, 10)) == GOOD[1]
    assert predictors.take(newest) == GOOD[1]
    assert predictors.take(serving(None, None)) == GOOD[-1]


def test_a_decision_for_what_is_not_there_changes_nothing(backend: MemoryBackend, predictors: Predictors) -> None:
    predictors.take(published(backend, GOOD[1]))
    assert predictors.take(serving(7, 7)) == GOOD[1]
    assert predictors.take(published(backend, GOOD[2])) == GOOD[1]
    assert "no version 7/7" in predictors.said[0]


def test_an_unreachable_store_is_asked_again_and_said_once(backend: MemoryBackend, predictors: Predictors) -> None:
    store = predictors.feed._store
    whole = store.manifest
    calls: list[float] = []

    def fail(*_: Any, **__: Any) -> Any:
        calls.append(predictors.now)
        raise StoreUnavailable("input/output error")

    store.manifest = fail  # type: ignore[method-assign]
    predictors.take(published(backend, GOOD[1]))
    for _ in range(200):
        predictors.now += 1.0
        predictors.take()
    assert calls[:5] == [0, 1, 3, 7, 15]
    assert max(later - earlier for earlier, later in itertools.pairwise(calls)) == 60
    assert len(predictors.said) == 1
    store.manifest = whole  # type: ignore[method-assign]
    predictors.now += 60
    assert predictors.take() == GOOD[1]


def test_a_key_that_becomes_trusted_later_is_enough() -> None:
    backend = MemoryBackend()
    keys: dict[str, Any] = {}
    predictors = Predictors(store_on(backend, None, Trust(PublicKeys({}), lambda: PublicKeys(keys))))
    publish(store_on(backend), GOOD[1])
    assert predictors.take(published(backend, GOOD[1])) is None
    keys[SIGNER.key_id] = SIGNER.public
    predictors.now += 1
    assert predictors.take() == GOOD[1]


class Sulks:
    """A user's model that fails in its own ways."""

    error: type[BaseException] = RuntimeError

    def predict_proba_one(self, features: dict[str, float]) -> dict[bool, float]:
        raise self.error("no")


class Panic(BaseException):
    """What River's compiled parts raise."""


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, MemoryError, RecursionError, Panic])
def test_whatever_a_model_raises_the_old_one_serves_on(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sulks, "error", error)
    backend = MemoryBackend()
    predictors = Predictors(store_on(backend, None))
    name = (Sulks.__module__, "Sulks")
    predictors.feed._definition = Definition("m", "d", "c", frozenset({name}))
    store = store_on(backend)
    publish(store, GOOD[1])
    store.publish(draft(GOOD[2], extra=PROBE), {"model": dumps(Sulks())})
    store.publish(draft(GOOD[3], extra=PROBE), {"model": dumps({"no": "model"})})
    predictors.take(published(backend, GOOD[1]))
    assert predictors.take(published(backend, GOOD[2]), published(backend, GOOD[3])) == GOOD[1]
    assert len(predictors.said) == 2
    assert predictors.take() == GOOD[1]
    assert len(predictors.said) == 2


def test_a_model_that_answers_with_infinity_is_refused() -> None:
    backend = MemoryBackend()
    predictors = Predictors(store_on(backend, None), "regression")
    store = store_on(backend)
    bad = linear_model.LinearRegression(intercept_init=float("inf"))
    store.publish(draft(GOOD[1], extra=PROBE), {"model": dumps(bad)})
    assert predictors.take(published(backend, GOOD[1])) is None
    assert "inf" in predictors.said[0]


def test_a_version_that_does_not_answer_its_own_probe_is_refused() -> None:
    backend = MemoryBackend()
    predictors = Predictors(store_on(backend, None))
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for number in range(5):
        model.learn_one({"a": float(number)}, number > 2)
    broken = draft(GOOD[1], extra={"probe": [{"a": "text where a number was"}]})
    store_on(backend).publish(broken, {"model": dumps(model)})
    assert predictors.take(published(backend, GOOD[1])) is None
    assert "does not answer" in predictors.said[0]


def test_a_version_that_answers_its_probe_otherwise_than_when_it_was_written_is_refused_and_said_again() -> None:
    """Whatever the cause: a data file, a package, a variable of the environment that its code depends on."""
    backend = MemoryBackend()
    predictors = Predictors(store_on(backend, None))
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for number in range(5):
        model.learn_one({"a": float(number)}, number > 2)
    events = [{"a": 1.0}, {"a": 4.0}]
    true = fingerprint(wrap(model, "binary"), events)
    for of, told, cpu in ((GOOD[0], "0" * 64, "another"), (GOOD[1], "0" * 64, ""), (GOOD[2], true, "")):
        extra = {"probe": events, "probed": told}
        store_on(backend).publish(draft(of, extra=extra, cpu=cpu or cpu_name()), {"model": dumps(model)})
    assert predictors.take(published(backend, GOOD[0])) is not None, "another kind of CPU may differ in the last bit"
    predictors.take(published(backend, GOOD[1]))
    assert "does not answer as it did when it was written" in predictors.said[0]
    served = predictors.take(published(backend, GOOD[2]))
    assert served is not None
    assert served.examples == GOOD[2].examples
    newest = predictors.feed.newest()
    assert newest is not None
    assert newest.probes == events, "they tell which features there are"


# --- any order, any junk -----------------------------------------------------------------------------


def everything(backend: MemoryBackend) -> list[Record]:
    true = [published(backend, of) for of in GOOD]
    return [
        *true * 2,
        *(published(backend, of, "cd" * 32) for of in GOOD),
        published(backend, version(9, 9)),
        published(backend, version(8, 8)),
        record(announcement(999_999, 1)),
        record(announcement(3, 3, model="../m"), "published/m/0"),
        record(announcement(3, 3, model="..")),
        Record(b"published/m/0", None),
        Record(b"published/m/0", b""),
        Record(b"published/m/0", Label("x", 1, 2).encode()),
        Record(b"\xff", true[0].value),
        record(Learning(0, True, "me", "why")),
        Record(true[0].key, (true[0].value or b"")[:-3]),
        Record(true[0].key, (true[0].value or b"") + b"x"),
    ]


@pytest.mark.fault("F17")
def test_in_whatever_order_they_come_to_the_newest_good_and_never_back(
    backend: MemoryBackend, rounds: Callable[[int, int], int], tally: Tally
) -> None:
    records = everything(backend)
    times = rounds(100, 1000)
    for seed in range(times):
        rng = random.Random(seed)
        shuffled = rng.sample(records, len(records))
        predictors = Predictors(store_on(backend, None))
        served: list[VersionId] = []
        while shuffled:
            batch = [shuffled.pop() for _ in range(min(len(shuffled), rng.randint(1, 8)))]
            now = predictors.take(*batch)
            served += [now] if now is not None else []
            predictors.now += rng.choice([0, 1, 100])
        assert served == sorted(served)
        assert served[-1] == GOOD[-1]
    tally.row(times, 0, 0)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_junk_is_ignored_and_nothing_is_raised(data: st.DataObject) -> None:
    whole = record(announcement(1, 1)).value or b""
    cut = st.integers(0, len(whole)).map(lambda at: whole[:at])
    flipped = st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)).map(
        lambda change: whole[: change[0]] + bytes([change[1]]) + whole[change[0] + 1 :]
    )
    body = st.binary(max_size=60).map(lambda rest: whole[:10] + rest)
    values = data.draw(st.lists(st.none() | st.binary(max_size=80) | cut | flipped | body, max_size=8))
    keys = st.none() | st.binary(max_size=10) | st.sampled_from([b"published/m/0", b"serving/0", b"learning/0"])
    predictors = Predictors(store_on(MemoryBackend(), None))
    switch = PauseSwitch("m", say=predictors.said.append)
    for value in values:
        assert predictors.take(Record(data.draw(keys), value)) is None
        switch.follow(predictors.topic._known)


def test_junk_without_end_is_told_but_not_without_end() -> None:
    predictors = Predictors(store_on(MemoryBackend(), None))
    for offset in range(5000):
        predictors.topic._take(Record(b"k", b"junk", offset))
    assert 20 < len(predictors.said) < 30
    assert "5000 records are ignored" in predictors.said[-1]


def test_what_is_remembered_is_bounded() -> None:
    known = Known()
    for number in range(10_000):
        known.take(*record(announcement(1 + number % 7, number))[:2])
    assert len(known.announced("m", 0)) <= 128
    versions = [one.version for one in known.announced("m", 0)]
    newest_first = sorted((version(1 + number % 7, number) for number in range(10_000)), reverse=True)
    assert versions[:32] == newest_first[:32]
    assert {version(1 + number % 7, number) for number in range(9_968, 10_000)} <= set(versions)


# --- the thread --------------------------------------------------------------------------------------


class BrokenCluster:
    """Every client that it makes breaks in a way that no client should."""

    def __init__(self) -> None:
        self.made = threading.Semaphore(0)

    def consumer(self, **_: Any) -> Any:
        self.made.release()
        raise LookupError("of the client's own making")


def test_the_thread_outlives_what_the_client_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.predictor.model_feed._RETRY_SECONDS", 0.01)
    cluster, said = BrokenCluster(), list[str]()
    topic = ModelsTopic(cluster, "m.models", lambda known: None, said.append)  # type: ignore[arg-type]
    topic.start()
    for _ in range(3):
        assert cluster.made.acquire(timeout=10)
    topic.close()
    assert "LookupError: of the client's own making; trying again" in said[0]


# --- the learner's view ------------------------------------------------------------------------------


def test_the_learner_sees_pauses_and_keeps_what_serves(backend: MemoryBackend) -> None:
    said: list[str] = []
    known, switch = Known(), PauseSwitch("m", say=said.append)

    def take(what: Record) -> None:
        known.take(what.key, what.value)
        switch.follow(known)

    switch.follow(known)
    assert (switch.is_paused(), switch.protected()) == (False, set())
    take(record(Learning(0, True, "me", "why")))
    take(record(Learning(0, True, "me", "why")))
    take(record(Learning(1, False, "me", "another shard")))
    assert switch.is_paused()
    take(record(Learning(0, False, "me", "why")))
    assert not switch.is_paused()
    assert said == ["learning is paused", "learning goes on"]
    take(published(backend, GOOD[2]))
    take(published(backend, GOOD[1]))
    assert switch.protected() == {GOOD[2]}
    take(serving(1, 0))
    assert switch.protected() == {GOOD[0]}
