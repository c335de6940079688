"""What served before: the version that a rollback without one goes to."""

from __future__ import annotations

import pytest
from store_parts import MADE_MS, publish, store_on, version

from consumers.model.checkpoints import REBUILD, REBUILD_START
from millstream.versions.kept_versions import KeptVersions
from millstream.versions.rollback import LEAST_MS, NothingBefore, before
from model_store import MemoryBackend, ModelStore, VersionId
from schemas.model_updates import Adopted, ModelUpdate, Serving

LATER = MADE_MS + 10_000


@pytest.fixture
def store() -> ModelStore:
    """Return a store with three learned versions, and one made anew that nothing has served."""
    store = store_on(MemoryBackend())
    for examples in (10, 20, 30):
        publish(store, version(1, examples))
    publish(store, version(2, 0), reason=REBUILD_START)
    publish(store, version(2, 25), reason=REBUILD)
    return store


def pinned(to: VersionId | None, at: int = LATER) -> ModelUpdate:
    epoch, examples = (None, None) if to is None else (to.epoch, to.examples)
    return ModelUpdate(at, Serving("m", 0, epoch, examples, "ann", "why"))


def adopted(of: VersionId, at: int) -> ModelUpdate:
    return ModelUpdate(at, Adopted("m", 0, of.epoch, of.examples, "ann", "why"))


def test_without_a_decision_it_is_the_one_made_before(store: ModelStore) -> None:
    assert before(store, [], version(1, 30)) == version(1, 20)
    with pytest.raises(NothingBefore, match="nothing was changed"):
        before(store, [], version(1, 10))


def test_before_a_pin_it_is_what_was_newest_then_and_nothing_that_was_only_made_anew(store: ModelStore) -> None:
    assert before(store, [pinned(version(1, 10))], version(1, 10)) == version(1, 30)
    assert before(store, [pinned(version(1, 10), MADE_MS + 25)], version(1, 10)) == version(1, 20)


def test_between_two_pins_it_is_the_first(store: ModelStore) -> None:
    decisions = [pinned(version(1, 20)), pinned(version(1, 10), LATER + 1)]
    assert before(store, decisions, version(1, 10)) == version(1, 20)
    assert before(store, [pinned(None), pinned(version(1, 10), LATER + 1)], version(1, 10)) == version(1, 30)


def test_what_was_made_anew_has_served_from_when_it_was_adopted(store: ModelStore) -> None:
    decisions = [adopted(version(2, 25), LATER), pinned(version(1, 10), LATER + LEAST_MS)]
    assert before(store, decisions, version(1, 10)) == version(2, 25)
    assert before(store, decisions[:1], version(2, 25)) == version(1, 30)
    too_late = [pinned(version(1, 10)), adopted(version(2, 25), LATER + 1)]
    assert before(store, too_late, version(1, 10)) == version(1, 30)


def test_a_version_that_was_the_newest_for_a_moment_only_is_passed_over() -> None:
    store = store_on(MemoryBackend())
    for examples, made in ((10, 0), (20, 1000), (30, 1000 + LEAST_MS - 1), (40, 5000)):
        publish(store, version(1, examples), created_at_ms=MADE_MS + made)
    assert before(store, [], version(1, 40)) == version(1, 30)
    assert before(store, [], version(1, 30)) == version(1, 10), "20 was followed too soon to answer"


@pytest.mark.parametrize("written", [True, False])
def test_a_version_from_the_middle_of_a_replay_never_served(written: bool) -> None:
    """Whether it says so itself, or only its parent's place does, as in versions made before they said it."""
    store = store_on(MemoryBackend())
    publish(store, version(1, 1000))
    extra = {"overtakes": 1000} if written else {}
    for examples in (0, 300, 700, 1000):
        publish(
            store, version(2, examples), parent=version(1, 1000), extra=extra, created_at_ms=MADE_MS + 5000 + examples
        )
    assert before(store, [], version(2, 1000)) == version(1, 1000)


def test_a_replay_whose_parent_retention_has_taken_still_knows_what_served() -> None:
    store = store_on(MemoryBackend())
    publish(store, version(1, 900))
    for examples in (300, 1000):
        publish(
            store,
            version(2, examples),
            parent=version(1, 1000),
            extra={"overtakes": 1000},
            created_at_ms=MADE_MS + 5000 + examples,
        )
    assert before(store, [], version(2, 1000)) == version(1, 900)


def test_the_store_says_when_a_kept_version_was_made_and_is_asked_for_its_list_once_a_minute(store: ModelStore) -> None:
    now = [0.0]
    kept = KeptVersions(store, lambda: now[0])
    assert kept.made(version(1, 20)) == store.manifest(version(1, 20)).created_at_ms
    assert kept.made(version(1, 40)) is None
    publish(store, version(1, 40))
    assert kept.made(version(1, 40)) is None
    now[0] = 60.0
    assert kept.made(version(1, 40)) == store.manifest(version(1, 40)).created_at_ms
