"""`millstream keys …`: create, list, rotate and revoke the keys that sign versions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import HERE, Json, UsageError, Where, at, print_json, print_table

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.versions.key_usage import Loss
    from model_store.keyring import Key

app = cyclopts.App(name="keys", help="Manage the keys that sign versions, and the trusted keys.")

KeyId = Annotated[str, Parameter(name="KEY_ID", help="Id of the key, as `millstream keys list` shows it.")]
_STATES = {"signs": "signs", "next": "trusted, signs next", "trusted": "trusted", "revoked": "revoked"}
_UNKNOWN = "unknown"


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(app)


@app.command
def init(*, where: Where = HERE, json: Json = False) -> None:
    """Create the key pair that a learner signs with, and the key of the hashes of private values.

    A learner without a pair creates it at its first start, and `millstream run` creates the other for a stream with
    private features. What is there is kept; if both are, it is an error.

    Example: millstream keys init
    """
    from model_store import KeyProblem, keyring
    from model_store.value_key import FILE, make_value_key

    settings = where.settings()
    made = make_value_key(settings.keys)
    try:
        key_id = keyring.init(settings.keys)
    except KeyProblem:
        if not made:
            raise
        key_id = None
    if json:
        print_json({"key_id": key_id, "folder": str(settings.keys), "private_values": made})
        return
    if made:
        print(f"{settings.keys / FILE} is the key of hashes of private values; all monitors of a stream need the same")
    if key_id is None:
        return
    print(f"key {key_id} signs from now on; its private part is {settings.keys}/signing.pem and stays there")
    print(f"machines with only predictors need {settings.keys}/trusted alone")


@app.command(name="list")
def list_(*, where: Where = HERE, json: Json = False) -> None:
    """List the keys: the signing key and its date, revoked keys, and the versions that each key has signed.

    Works without a broker. Covers the versions of every stream in this home and store, under one prefix.

    Example: millstream keys list --json
    """
    from millstream.cli.models import store_of
    from millstream.versions.key_usage import signed_by_key, streams_here
    from model_store import keyring

    settings = where.settings()
    signed = signed_by_key(store_of(settings), streams_here(settings))
    keys = keyring.listed(settings.keys)
    rows = [_plain(key) for key in keys]
    there = {key.key_id for key in keys}
    rows += [_plain_unknown(key_id) for key_id in signed if key_id not in there]
    if json:
        print_json([{**row, "signed": _versions(signed.get(row["key_id"], []))} for row in rows])
    elif not rows:
        print(f"there are no keys in {settings.keys}: `millstream keys init` or a learner's first start makes them")
    else:
        print_table(
            ("key", "is", "since", "signed"),
            [
                (row["key_id"], _told(row), at(row["since"]), "; ".join(map(str, signed.get(row["key_id"], []))))
                for row in rows
            ],
        )


@app.command
def rotate(
    *,
    prepare: Annotated[
        bool,
        Parameter(negative="", help="Only create the new key, to copy it to the machines of the predictors first."),
    ] = False,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Sign with a new key from the next version on. Versions of the old key stay trusted; no restart is needed.

    Example: millstream keys rotate --prepare
    """
    from model_store import keyring

    folder = where.settings().keys
    if prepare:
        ready = keyring.prepare(folder)
        if json:
            print_json({"next": ready})
        else:
            print(f"key {ready} is trusted and signs nothing yet: copy {folder}/trusted to where predictors run,")
            print("and then run `millstream keys rotate`")
        return
    old, new = keyring.rotate(folder)
    if json:
        print_json({"signs": new, "before": old})
    else:
        print(f"key {new} signs from the next version on; {old} stays trusted, and its private part is gone")


@app.command
def revoke(
    key_id: KeyId,
    /,
    *,
    why: Annotated[str, Parameter(help="Reason, kept with the revocation.")] = "",
    yes: Annotated[bool, Parameter(negative="", help="Do not ask for confirmation.")] = False,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Revoke a key: its versions are no longer loaded. A version that is loaded already serves until the next one.

    Example: millstream keys revoke 0123456789abcdef --why "its machine was broken into" --yes
    """
    from millstream.versions.decisions import who
    from millstream.versions.key_usage import losses, signed_by_key, streams_here
    from model_store import keyring

    settings = where.settings()
    try:
        keyring.check_key_id(key_id)
    except keyring.InvalidKeyId as error:
        raise UsageError(str(error)) from error
    keyring.revocable(settings.keys, key_id)
    store = _store(settings)
    found = losses(store, signed_by_key(store, streams_here(settings)).get(key_id, []))
    if not yes and not _agreed(key_id, found):
        return
    keyring.revoke(settings.keys, key_id, keyring.Revocation(_now_ms(), who(), why))
    if json:
        print_json({"revoked": key_id, "unusable": [_plain_loss(loss) for loss in found]})
        return
    if yes:
        _tell(found)
    print(f"key {key_id} is revoked; copy {settings.keys}/trusted to where predictors run")


def _agreed(key_id: str, found: list[Loss]) -> bool:
    if not sys.stdin.isatty():
        which = "; ".join(loss.told() for loss in found) or "it has signed no version that is here"
        raise UsageError(f"say --yes to revoke key {key_id}. {which}")
    _tell(found)
    if input(f"Revoke key {key_id}? [y/N] ").strip().lower() == "y":
        return True
    print("nothing was revoked")
    return False


def _tell(found: list[Loss]) -> None:
    for loss in found:
        print(loss.told())
    if found:
        print("a predictor that serves one of these continues until the next version, and has none after a restart;")
        print("a running learner continues, and signs its next version with its own key")


def _store(settings: Settings) -> Any:
    from millstream.cli.models import store_of

    return store_of(settings)


def _now_ms() -> int:
    import time

    return time.time_ns() // 1_000_000


def _plain(key: Key) -> dict[str, Any]:
    import msgspec

    revoked = None if key.revocation is None else msgspec.to_builtins(key.revocation)
    return {"key_id": key.key_id, "state": key.state, "since": key.since_ms, "revoked": revoked}


def _plain_unknown(key_id: str) -> dict[str, Any]:
    return {"key_id": key_id, "state": _UNKNOWN, "since": None, "revoked": None}


def _told(row: dict[str, Any]) -> str:
    revoked = row["revoked"]
    if row["state"] == _UNKNOWN:
        return "not trusted here"
    if revoked is None:
        return _STATES[row["state"]]
    parts = [at(revoked["at"] or None), revoked["by"], revoked["why"]]
    return " ".join(["revoked", *(part for part in parts if part)])


def _versions(signed: list[Any]) -> dict[str, list[str]]:
    return {each.stream: [str(version) for version in each.versions] for each in signed}


def _plain_loss(loss: Loss) -> dict[str, Any]:
    return {
        "stream": loss.stream,
        "versions": [str(version) for version in loss.unusable],
        "pinned": [str(version) for version in loss.pinned],
        "stays": None if loss.stays is None else str(loss.stays),
    }
