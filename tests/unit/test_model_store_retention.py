"""Which versions stay, as a decision; and that carrying it out takes nothing that stays is made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from model_store import (
    Draft,
    MemoryBackend,
    ModelStore,
    NotFound,
    Retention,
    Signer,
    StoreUnavailable,
    Trust,
    VersionId,
)
from model_store.retention import to_delete
from model_store.version_index import Leftovers

HOUR, DAY = 3_600_000, 86_400_000


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[VersionId, int]]:
    """Return versions of some epochs, oldest first, a second to days apart."""
    made, versions = draw(st.integers(0, DAY)), []
    for epoch in range(1, draw(st.integers(1, 3)) + 1):
        examples = draw(st.sampled_from([0, 0, 7]))
        for step in draw(st.lists(st.integers(1_000, 2 * DAY), max_size=40)):
            versions.append((VersionId("m", epoch, examples), made))
            made, examples = made + step, examples + 1 + step % 5
    return versions


@given(histories(), st.integers(1, 5), st.integers(0, 5), st.integers(0, 5), st.booleans(), st.randoms())
def test_what_must_stay_stays(versions, last, hourly, daily, latest_only, rng) -> None:  # type: ignore[no-untyped-def]
    keep = set(rng.sample([version for version, _ in versions], k=min(2, len(versions))))
    retention = Retention(last=last, hourly=hourly, daily=daily, latest_only=latest_only)
    gone = to_delete(versions, retention, keep)
    stays = [(version, made) for version, made in versions if version not in set(gone)]
    assert len(gone) == len(set(gone))
    assert set(gone) <= {version for version, _ in versions}
    assert keep.isdisjoint(gone)
    newest = [version for version, _ in versions][-1 if latest_only else -last :]
    assert set(newest).isdisjoint(gone)
    for epoch in {version.epoch for version, _ in versions}:
        assert min(version for version, _ in versions if version.epoch == epoch) not in gone
        if not latest_only:
            # What a deploy that went wrong goes back to.
            assert max(version for version, _ in versions if version.epoch == epoch) not in gone
    assert not any(version.examples == 0 for version in gone)
    assert to_delete(stays, retention, keep) == [], "a second time takes nothing more"
    bound = len(keep) + 3 + (1 if latest_only else 3 + last + hourly + daily)
    assert len(stays) <= bound
    if not latest_only:
        for span, most in ((HOUR, hourly), (DAY, daily)):
            spans = sorted({made // span for _, made in versions}, reverse=True)[:most]
            assert set(spans) <= {made // span for _, made in stays}


@given(histories(), st.integers(1, 3))
def test_thinning_as_one_goes_keeps_the_hours_and_days(versions, last) -> None:  # type: ignore[no-untyped-def]
    retention, there = Retention(last=last, hourly=3, daily=2), []
    for version in versions:
        there.append(version)
        gone = set(to_delete(there, retention, ()))
        there = [(version, made) for version, made in there if version not in gone]
    at_once = set(to_delete(versions, retention, ()))
    assert {version for version, _ in there} == {version for version, _ in versions} - at_once


def test_of_a_model_that_jobs_train_no_epoch_stays_for_ever() -> None:
    daily = [(VersionId("m", day + 1, 1000 + day), day * DAY) for day in range(400)]
    serving, pinned = daily[7][0], daily[100][0]
    gone = set(to_delete(daily, Retention(), {serving, pinned}, trained=True))
    assert [version for version, _ in daily if version not in gone] == [
        serving, pinned, *(version for version, _ in daily[-48:])
    ]  # fmt: skip
    assert not to_delete(daily, Retention(), ()), "of a model that learns, the first of each epoch stays"
    gone = set(to_delete(daily, Retention(latest_only=True), {serving}, trained=True))
    assert {version for version, _ in daily} - gone == {serving, daily[-1][0]}


def test_impossible_retentions_are_refused() -> None:
    for fields in ({"last": 0}, {"hourly": -1}, {"daily": -1}):
        with pytest.raises(ValueError, match="at least"):
            Retention(**fields)


# --- carried out ----------------------------------------------------------------------------------------


class Flaky(MemoryBackend):
    """Can be told that it cannot be read for a while."""

    broken = ""

    def get(self, name: str, limit_bytes: int) -> bytes:
        if self.broken and self.broken in name:
            raise StoreUnavailable(f"{name}: input/output error")
        return super().get(name, limit_bytes)


@pytest.fixture
def backend() -> Flaky:
    return Flaky()


@pytest.fixture
def signer() -> Signer:
    return Signer(Ed25519PrivateKey.generate())


@pytest.fixture
def store(backend: Flaky, signer: Signer) -> ModelStore:
    return ModelStore(backend, Trust.of(signer.public), signer)


def publish(store: ModelStore, examples: int, content: bytes, epoch: int = 1) -> VersionId:
    version = VersionId("m", epoch, examples)
    draft = Draft(
        version=version, topic_id="t", offset=0, examples=examples, chain="", fingerprint="", definition="",
        contract="", created_at_ms=examples * 1000,
    )  # fmt: skip
    store.publish(draft, {"model": content})
    return version


def test_versions_go_with_their_objects_and_pinned_ones_stay(store: ModelStore, backend: Flaky) -> None:
    versions = [publish(store, n, b"model %d" % n) for n in range(10)]
    store.pin(versions[3])
    store.pin(versions[3])
    pruned = store.prune("m", Retention(latest_only=True), {versions[5]})
    stays = [versions[n] for n in (0, 3, 5, 9)]
    assert store.versions("m") == stays
    assert (set(pruned.versions), pruned.objects) == (set(versions) - set(stays), 6)
    assert len(backend.names("m/objects")) == 4
    assert [store.read(store.manifest(v), "model") for v in stays] == [b"model %d" % v.examples for v in stays]
    store.unpin(versions[3])
    store.unpin(versions[3])
    assert store.prune("m", Retention(latest_only=True), set()).versions == (versions[3], versions[5])
    assert store.pinned("m") == set()
    with pytest.raises(NotFound):
        store.pin(versions[3])


def test_an_object_that_two_versions_share_stays_with_the_other(store: ModelStore) -> None:
    first, last = publish(store, 0, b"same"), publish(store, 2, b"same")
    publish(store, 1, b"same")
    assert store.prune("m", Retention(latest_only=True), set()).objects == 0
    assert [store.read(store.manifest(v), "model") for v in (first, last)] == [b"same"] * 2


def test_what_cannot_be_verified_is_left_with_its_objects(backend: Flaky, signer: Signer) -> None:
    """A key may come back, and evidence is not deleted; what it shares with a version that goes stays too."""
    stranger = Signer(Ed25519PrivateKey.generate())
    both = Trust.of(signer.public, stranger.public)
    theirs = publish(ModelStore(backend, both, stranger), 1, b"shared")
    mine = ModelStore(backend, both, signer)
    for n in (0, 2, 3):
        publish(mine, n, b"shared" if n == 2 else b"%d" % n)
    fresh = ModelStore(backend, Trust.of(signer.public), signer)
    assert fresh.prune("m", Retention(latest_only=True), set()).versions == (VersionId("m", 1, 2),)
    assert theirs in fresh.versions("m")
    assert mine.read(mine.manifest(theirs), "model") == b"shared"


def test_a_store_that_cannot_be_read_now_loses_nothing(backend: Flaky, signer: Signer) -> None:
    store = ModelStore(backend, Trust.of(signer.public), signer)
    for n in range(5):
        publish(store, n, b"same" if n in (1, 4) else b"%d" % n)
    before = backend.names("m")
    fresh = ModelStore(backend, Trust.of(signer.public), signer)
    backend.broken = "000004.json"
    with pytest.raises(StoreUnavailable):
        fresh.prune("m", Retention(latest_only=True), set())
    assert backend.names("m") == before
    backend.broken = ""
    fresh.prune("m", Retention(latest_only=True), set())
    assert fresh.versions("m") == [VersionId("m", 1, 0), VersionId("m", 1, 4)]
    assert fresh.read(fresh.manifest(VersionId("m", 1, 4)), "model") == b"same"


def test_what_a_crash_left_goes_an_hour_later_and_what_is_being_written_stays(
    store: ModelStore, backend: Flaky
) -> None:
    now = [0.0]
    store._index.leftovers = Leftovers(clock=lambda: now[0])
    publish(store, 0, b"zero")
    crashed, arriving = "m/objects/" + "c" * 64, "m/objects/" + "a" * 64
    backend.put_new(crashed, b"of a learner that was killed")
    assert store.prune("m", Retention(), set()).objects == 0
    now[0] = 1800.0
    backend.put_new(arriving, b"its manifest comes next")
    assert store.prune("m", Retention(), set()).objects == 0
    now[0] = 3700.0
    assert store.prune("m", Retention(), set()).objects == 1
    assert crashed not in backend.names("m/objects")
    assert arriving in backend.names("m/objects")


def test_pruning_again_reads_no_manifest_again(store: ModelStore, backend: Flaky) -> None:
    for n in range(30):
        publish(store, n, b"%d" % n)
    store.prune("m", Retention(), set())
    backend.broken = "m/versions"
    assert store.prune("m", Retention(), set()).versions == ()


def test_alien_files_are_no_versions_and_no_pins(tmp_path: Path, store: ModelStore, backend: Flaky) -> None:
    version = publish(store, 0, b"x")
    for name in ("m/pins/readme", "m/versions/000001/notes.txt", "m/versions/1/2.json", "m/versions/000001/5.json"):
        backend.put_new(name, b"")
    assert (store.versions("m"), store.pinned("m")) == ([version], set())
    assert store.versions("m", epoch=2) == []
    assert store.versions("n") == []
