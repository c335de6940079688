"""Which version the rollback of an alert rule goes to, and that retention has kept one of each day for it."""

from __future__ import annotations

import pytest
from store_parts import OTHER, SIGNER, publish, store_on, version

from consumers.model.checkpoints import REBUILD, REBUILD_START
from millstream.versions.kept_versions import KeptVersions
from model_store import MemoryBackend, ModelStore, Retention, Trust, VersionId
from model_store.retention import to_delete

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
DAY_0 = 20_000 * DAY_MS


@pytest.fixture
def store() -> ModelStore:
    """Return a store with one version of each hour, the first of them untrained."""
    store = store_on(MemoryBackend())
    for hours in range(4):
        publish(store, version(1, 10 * hours), created_at_ms=at(hours))
    return store


def at(hours: float) -> int:
    return DAY_0 + round(hours * HOUR_MS)


def before(store: ModelStore, hours: float) -> VersionId | None:
    return KeptVersions(store).before("m", at(hours))


def test_it_is_the_newest_from_before_the_first_bad_window(store: ModelStore) -> None:
    assert before(store, 9) == version(1, 30)
    assert before(store, 2.5) == version(1, 20)
    assert before(store, 2) == version(1, 10), "one that was made as the bad window began may have learned from it"


def test_what_has_learned_nothing_is_left_out(store: ModelStore) -> None:
    assert before(store, 0.5) is None
    publish(store, version(2, 0), created_at_ms=at(5))
    assert before(store, 6) == version(1, 30), "a fresh epoch's first version is newer, and knows nothing"


def test_of_another_model_there_is_nothing(store: ModelStore) -> None:
    publish(store, version(1, 70, "m.b"), created_at_ms=at(1))
    assert before(store, 9) == version(1, 30)
    assert KeptVersions(store).before("other", at(9)) is None


def test_a_rebuilt_version_and_one_from_the_middle_of_a_replay_are_left_out(store: ModelStore) -> None:
    publish(store, version(2, 0), created_at_ms=at(5), reason=REBUILD_START)
    publish(store, version(2, 25), created_at_ms=at(5), reason=REBUILD)
    for examples in (5, 15, 30):
        publish(store, version(3, examples), created_at_ms=at(6) + examples, extra={"overtakes": 30})
    assert before(store, 6) == version(1, 30)
    assert before(store, 6.000_004) == version(1, 30), "of the replay, only what has overtaken is announced"
    assert before(store, 7) == version(3, 30)


def test_what_predictors_would_refuse_is_left_out() -> None:
    backend = MemoryBackend()
    publish(store_on(backend), version(1, 10), created_at_ms=at(1))
    publish(store_on(backend, OTHER, Trust.of(OTHER.public)), version(1, 20), created_at_ms=at(2))
    publish(store_on(backend), version(1, 30), created_at_ms=at(3))
    assert before(store_on(backend), 2.5) == version(1, 10), "nobody trusts the key of the second"
    both = store_on(backend, trust=Trust.of(SIGNER.public, OTHER.public))
    assert before(both, 2.5) == version(1, 20)
    lost = both.manifest(version(1, 20)).files["model"]
    backend.delete(f"m/objects/{lost.sha256}")
    assert before(store_on(backend, trust=Trust.of(SIGNER.public, OTHER.public)), 2.5) == version(1, 10)


def test_what_serves_after_a_rollback_is_kept(store: ModelStore) -> None:
    KeptVersions(store).keep(version(1, 20))
    store.prune("m", Retention(latest_only=True), set())
    assert store.versions("m") == [version(1, 0), version(1, 20), version(1, 30)]


# --- retention ----------------------------------------------------------------------------------------------


def history(days: int, each: int = 8) -> list[tuple[VersionId, int]]:
    """Return versions of some days, evenly made, the first untrained."""
    return [(version(1, number), DAY_0 + number * DAY_MS // each) for number in range(days * each)]


@pytest.mark.parametrize("latest_only", [True, False])
def test_one_of_each_day_stays_for_a_rollback(latest_only: bool) -> None:
    versions = history(10)
    rule = Retention(last=1, hourly=0, daily=0, latest_only=latest_only)
    gone = {*to_delete(versions, Retention(1, 0, 0, latest_only, for_rollback=4), ())}
    stays = [each.examples for each, _ in versions if each not in gone]
    assert stays == [0, 8 * 7 - 1, 8 * 8 - 1, 8 * 9 - 1, 8 * 10 - 1]
    assert len(versions) - len(to_delete(versions, rule, ())) == 2, "without such a rule, only the first and the last"


def test_what_cannot_be_rolled_back_to_takes_no_days_place() -> None:
    """A fresh epoch that begins late in a day is untrained; a replay may go on until the next day."""
    versions = [(version(1, number), at(number / 4)) for number in (70, 80, 90)] + [(version(2, 0), at(22.8))]
    versions += [(version(2, 50), at(23)), (version(3, 0), at(23.5)), (version(3, 95), at(30))]
    gone = to_delete(versions, Retention(latest_only=True, for_rollback=3), ())
    assert gone == [version(1, 80)], "of the first day, the last version of each epoch stays"
    quiet = [*versions, (version(4, 0), at(60))]
    assert to_delete(quiet, Retention(latest_only=True, for_rollback=2), ()) == gone, "a day without learning is none"


def test_on_each_day_there_is_a_version_to_go_back_to(store: ModelStore) -> None:
    """Pruned as it goes, with every version but one of each day deleted."""
    retention = Retention(last=1, hourly=0, daily=0, latest_only=True, for_rollback=4)
    for hours in range(4, 10 * 24, 4):
        publish(store, version(1, 10 * hours), created_at_ms=at(hours))
        store.prune("m", retention, set())
    found = [before(store, 24 * days + 12) for days in range(7, 10)]
    assert found == [version(1, 10 * (24 * days - 4)) for days in range(7, 10)]
    assert len(store.versions("m")) == 1 + 4, "the untrained first one, and one of each day"
