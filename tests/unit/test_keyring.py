"""Keys made, made ready, rotated and revoked, and what a learner and a predictor that run make of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from store_parts import publish, version

from consumers.model.checkpoints import Definition
from consumers.model.models_topic_state import Known
from consumers.predictor.model_feed import VersionFeed
from millstream.cli import app as cli
from millstream.cli import keys as cli_keys
from model_store import AlreadyExists, BadSignature, KeyProblem, LogCopy, ModelStore, RevokedKey, keyring, open_store
from model_store.keyring import Revocation
from model_store.signing import open_signer, open_trust
from schemas.model_updates import ModelUpdate, Published, Serving

Run = Callable[..., tuple[int, str, str]]
WHY = Revocation(1_700_000_000_000, "ann", "its machine was broken into")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def keys(home: Path) -> Path:
    return home / "keys"


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLSTREAM_HOME", str(home))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(arguments)
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1
        return code, said.out, said.err

    return call


def learner(home: Path) -> ModelStore:
    return open_store(home / "models", home / "keys", sign=True)


def reader(home: Path) -> ModelStore:
    return open_store(home / "models", home / "keys", sign=False)


# --- the folder --------------------------------------------------------------------------------------


def test_a_pair_is_made_once_and_its_private_part_is_its_owners_alone(keys: Path) -> None:
    made = keyring.init(keys)
    assert open_signer(keys).key_id == made
    assert (keys / "signing.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyProblem, match=f"is there already, as key {made}"):
        keyring.init(keys)
    assert [(key.key_id, key.state) for key in keyring.listed(keys)] == [(made, "signs")]


def test_a_rotated_key_leaves_its_public_part_trusted_and_no_private_part(keys: Path) -> None:
    first = open_signer(keys)
    assert keyring.rotate(keys)[0] == first.key_id
    second = open_signer(keys)
    assert {key.key_id: key.state for key in keyring.listed(keys)} == {
        first.key_id: "trusted",
        second.key_id: "signs",
    }
    open_trust(keys).verify(first.key_id, first.sign(b"x"), b"x")
    assert (keys / "signing.pem").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in keys.iterdir()) == [".lock", "signing.pem", "trusted"]


def test_a_key_made_ready_is_trusted_before_it_signs(keys: Path) -> None:
    first = keyring.init(keys)
    ready = keyring.prepare(keys)
    assert keyring.prepare(keys) == ready
    assert open_signer(keys).key_id == first
    assert (keys / "next.pem").stat().st_mode & 0o777 == 0o600
    elsewhere = keys.parent / "elsewhere"
    (elsewhere / "trusted").mkdir(parents=True)
    for path in (keys / "trusted").iterdir():
        (elsewhere / "trusted" / path.name).write_bytes(path.read_bytes())
    assert keyring.rotate(keys) == (first, ready)
    signer = open_signer(keys)
    open_trust(elsewhere).verify(ready, signer.sign(b"x"), b"x")
    assert not (keys / "next.pem").exists()


def test_the_key_that_signs_is_not_revoked_and_a_revoked_one_signs_nothing(keys: Path) -> None:
    first = keyring.init(keys)
    with pytest.raises(KeyProblem, match="`millstream keys rotate` first"):
        keyring.revoke(keys, first, WHY)
    with pytest.raises(KeyProblem, match="there is no key 0123456789abcdef"):
        keyring.revoke(keys, "0123456789abcdef", WHY)
    ready = keyring.prepare(keys)
    keyring.revoke(keys, ready, WHY)
    assert not (keys / "next.pem").exists()
    # Somebody puts the marker of a revocation beside the key that signs, as by copying a folder.
    (keys / "trusted" / f"{first}.revoked").write_text("")
    with pytest.raises(KeyProblem, match=r"is revoked: `millstream keys rotate`"):
        open_signer(keys)
    keyring.rotate(keys)
    assert open_signer(keys).key_id not in (first, ready)


def test_a_revocation_is_told_and_holds_whatever_is_in_its_file(keys: Path) -> None:
    first = keyring.init(keys)
    signer = open_signer(keys)
    trust = open_trust(keys)
    keyring.rotate(keys)
    trust.verify(first, signer.sign(b"x"), b"x")
    keyring.revoke(keys, first, WHY)
    keyring.revoke(keys, first, Revocation(1, "bob", "again"))
    [revoked] = [key for key in keyring.listed(keys) if key.state == "revoked"]
    assert (revoked.key_id, revoked.revocation) == (first, WHY)
    (keys / "trusted" / f"{first}.revoked").write_bytes(b"\xff")
    with pytest.raises(RevokedKey, match=f"signed by key {first}, which is revoked"):
        trust.verify(first, signer.sign(b"x"), b"x")
    with pytest.raises(BadSignature, match="is not one of key"):
        trust.verify(first, signer.sign(b"y"), b"x")
    assert keyring.listed(keys)[0].revocation == Revocation()


@pytest.mark.parametrize("place", ["trusted", "file"])
def test_trust_that_anybody_could_have_put_there_is_none(place: str, keys: Path) -> None:
    key_id = keyring.init(keys)
    path = keys / "trusted" if place == "trusted" else keys / "trusted" / f"{key_id}.pem"
    path.chmod(path.stat().st_mode | 0o002)
    with pytest.raises(KeyProblem, match=f"chmod o-w {path}"):
        open_trust(keys)
    path.chmod(path.stat().st_mode & ~0o002)
    open_trust(keys)


def test_a_private_key_that_others_can_read_is_not_used(keys: Path) -> None:
    keyring.init(keys)
    keyring.prepare(keys)
    for name, use in (("next.pem", keyring.rotate), ("signing.pem", open_signer), ("signing.pem", keyring.listed)):
        (keys / name).chmod(0o640)
        with pytest.raises(KeyProblem, match=f"chmod 600 {keys / name}"):
            use(keys)
        (keys / name).chmod(0o600)


# --- what runs ---------------------------------------------------------------------------------------


def test_a_learner_that_runs_signs_with_the_new_key_from_its_next_version_on(home: Path) -> None:
    store = learner(home)
    publish(store, version(1, 1))
    old, new = keyring.rotate(home / "keys")
    publish(store, version(1, 2))
    signed = [store.signed_by(version(1, count)) for count in (1, 2)]
    assert signed == [old, new]
    assert [reader(home).manifest(version(1, count)).examples for count in (1, 2)] == [1, 2]


def test_a_learner_whose_key_has_gone_or_is_revoked_writes_nothing(home: Path) -> None:
    store = learner(home)
    private = home / "keys" / "signing.pem"
    whole, key_id = private.read_bytes(), open_signer(home / "keys").key_id
    private.unlink()
    with pytest.raises(KeyProblem, match=r"has gone.*put it back.*keys init"):
        publish(store, version(1, 1))
    assert not private.exists()
    os.close(os.open(private, os.O_CREAT | os.O_WRONLY, 0o600))
    private.write_bytes(whole)
    (home / "keys" / "trusted" / f"{key_id}.revoked").write_text("")
    with pytest.raises(KeyProblem, match="is revoked: `millstream keys rotate`"):
        publish(store, version(1, 1))
    assert store.versions("m") == []


def announced(feed: VersionFeed, known: Known, store: ModelStore, count: int) -> int:
    """Announce a version to a feed, and return how many examples what serves then had learned."""
    state = Published("m", 0, 1, count, "topic", count, store.manifest_sha256(version(1, count)), -1, -1, {})
    known._announce(state)
    feed.follow(known)
    serving = feed.newest()
    assert serving is not None
    return serving.examples


def test_a_predictor_that_runs_follows_a_rotation_and_serves_no_version_of_a_revoked_key(home: Path) -> None:
    store, said, known = learner(home), list[str](), Known()
    publish(store, version(1, 1))
    feed = VersionFeed(reader(home), Definition("m", "d", "c"), "binary", said.append)
    assert announced(feed, known, store, 1) == 1
    old, _ = keyring.rotate(home / "keys")
    publish(store, version(1, 2))
    assert announced(feed, known, store, 2) == 2
    assert said == []
    # What an attacker with the old key puts there now, and what serves from the old key already.
    keyring.revoke(home / "keys", old, WHY)
    decision = Serving("m", 0, 1, 1, "ann", "")
    known.take(decision.key.encode(), ModelUpdate(0, decision).encode())
    feed.follow(known)
    assert announced(feed, known, store, 2) == 2
    assert said == [f"version 1/1 is refused, 1/2 serves on: signed by key {old}, which is revoked: "
                    "`millstream keys list` says since when"]  # fmt: skip


def test_what_is_learned_again_takes_the_place_of_a_version_of_a_revoked_key_and_of_no_other(home: Path) -> None:
    store = learner(home)
    publish(store, version(1, 5))
    old, new = keyring.rotate(home / "keys")
    with pytest.raises(AlreadyExists):
        publish(store, version(1, 5))
    assert store.signed_by(version(1, 5)) == old
    keyring.revoke(home / "keys", old, WHY)
    assert publish(store, version(1, 5)).examples == 5
    assert reader(home).signed_by(version(1, 5)) == new
    with pytest.raises(AlreadyExists):
        publish(store, version(1, 5))


# --- the commands ------------------------------------------------------------------------------------


def test_the_commands_show_which_key_signed_what_and_what_revoking_one_costs(home: Path, run: Run) -> None:
    assert "there are no keys in" in run("keys", "list")[1]
    first = json.loads(run("keys", "init", "--json")[1])["key_id"]
    store = learner(home)
    for count in (1, 2):
        publish(store, version(1, count, "one"))
    publish(store, version(1, 1, "two"))
    store.pin(version(1, 1, "two"))
    second = json.loads(run("keys", "rotate", "--json")[1])["signs"]
    publish(store, version(1, 3, "one"))
    listed = {row["key_id"]: row for row in json.loads(run("keys", "list", "--json")[1])}
    assert listed[first]["signed"] == {"one": ["1/1", "1/2"], "two": ["1/1"]}
    assert listed[second]["signed"] == {"one": ["1/3"]}
    code, out, errors = run("keys", "revoke", first)
    assert (code, out) == (2, "")
    assert "one: 2 versions (1/1 to 1/2) cannot be loaded any more; the newest that stays is 1/3" in errors
    assert "two: version 1/1 cannot be loaded any more; 1/1 is pinned" in errors
    assert "`millstream learner two --new-epoch replay`" in errors
    assert reader(home).manifest(version(1, 1, "one")).examples == 1
    revoked = json.loads(run("keys", "revoke", first, "--why", "lost", "--yes", "--json")[1])
    assert [(each["stream"], each["stays"]) for each in revoked["unusable"]] == [("one", "1/3"), ("two", None)]
    with pytest.raises(RevokedKey):
        reader(home).manifest(version(1, 1, "one"))
    shown = run("keys", "list")[1]
    assert "revoked" in shown
    assert "lost" in shown
    assert "one 1/1 to 1/2 (2)" in " ".join(shown.split())


@pytest.mark.parametrize(("answer", "state"), [("y", "revoked"), ("n", "trusted"), ("", "trusted")])
def test_who_sits_at_a_terminal_is_asked(
    answer: str, state: str, keys: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keyring.init(keys)
    keyring.rotate(keys)
    monkeypatch.setattr(cli_keys.sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: answer)
    assert run("keys", "revoke", first)[0] == 0
    assert {key.key_id: key.state for key in keyring.listed(keys)}[first] == state


def test_a_version_of_a_key_that_is_not_here_is_listed_as_that(home: Path, run: Run) -> None:
    store = learner(home)
    publish(store, version(1, 1))
    key_id = store.signed_by(version(1, 1))
    (home / "keys" / "trusted" / f"{key_id}.pem").unlink()
    (home / "keys" / "signing.pem").unlink()
    [row] = json.loads(run("keys", "list", "--json")[1])
    assert (row["key_id"], row["state"], row["signed"]) == (key_id, "unknown", {"m": ["1/1"]})
    code, _, errors = run("keys", "rotate")
    assert code == 1
    assert "rotate where the learner runs" in errors


def test_what_a_revoked_key_said_of_a_log_counts_for_nothing_and_can_be_said_again(keys: Path, tmp_path: Path) -> None:
    first = keyring.init(keys)
    store = open_store(tmp_path / "models", keys, sign=True)
    copy = LogCopy("m", "new-id", "topic", 0, 100, 1)
    store.note_copy(copy)
    keyring.rotate(keys)
    keyring.revoke(keys, first, WHY)
    store = open_store(tmp_path / "models", keys, sign=True)
    assert store.log_copy("m", "new-id") is None
    again = LogCopy("m", "new-id", "topic", 0, 90, 2)
    store.note_copy(again)
    assert store.log_copy("m", "new-id") == again
    store.note_copy(copy)
    assert store.log_copy("m", "new-id") == again, "of a trusted key, what was said first stays"
