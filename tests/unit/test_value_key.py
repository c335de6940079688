"""Hashes of private values have a secret key: the same for all monitors, found nowhere, and without one no hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from simulation.watching import prediction

from consumers.monitor.columns import PredictionReader
from consumers.monitor.drift.basis import basis_of
from consumers.monitor.drift.novelties import novelties
from consumers.monitor.drift.rows import Names as RowNames
from consumers.monitor.drift.rows import Rows, row_of
from consumers.monitor.profiles import distinct, merge
from consumers.monitor.windows import PREDICTIONS, PartitionWindows
from millstream import Feature, Stream
from millstream.stream.monitor_rules import window_rules
from model_store import KeyProblem
from model_store.value_key import FILE, VARIABLE, make_value_key, value_key
from runtime.kafka_client.records import PlainRecord
from schemas.profiles import Window

NOW = 1_700_000_000_000
IBANS = ("DE02120300000000202051", "DE02500105170137075030")


def stream(name: str = "loans") -> Stream:
    features = {"iban": Feature(type="string", private=True), "pin": Feature(private=True), "amount": "number"}
    return Stream(name=name, task="binary", model=dict, features=features)


def windows(key: bytes, values: tuple[str, ...] = IBANS, partition: int = 0) -> list[Window]:
    """Return the windows of a monitor with this key."""
    rules = window_rules(stream(), key=key)
    made = PartitionWindows(PREDICTIONS, rules, PredictionReader())
    records = [
        PlainRecord(
            "t", partition, at, NOW + at, None,
            prediction(at, NOW, {"iban": values[at % len(values)], "pin": 4711.0 + at % 7, "amount": 1.0 * at}),
        )
        for at in range(100)
    ]  # fmt: skip
    return [*made.take(records), *made.finish()]


def test_monitors_with_one_key_make_equal_windows_and_another_key_makes_other_hashes(tmp_path: Path) -> None:
    assert make_value_key(tmp_path)
    first, second = value_key(tmp_path, "loans"), value_key(tmp_path, "loans")
    assert [each.encode() for each in windows(first)] == [each.encode() for each in windows(second)]
    whole = merge([*windows(first), *windows(second, IBANS[:1], partition=1)], 300_000)
    assert distinct(whole.profiles["feature:iban"]) == 2
    assert sorted(whole.profiles["feature:iban"].categories.values()) == [50, 150]
    [other] = windows(value_key(tmp_path, "loans", {VARIABLE: "ab" * 32}))
    [one] = windows(first)
    for name in ("feature:iban", "feature:pin"):
        assert not {*other.profiles[name].hashes} & {*one.profiles[name].hashes}
    assert not other.profiles["feature:iban"].categories.keys() & one.profiles["feature:iban"].categories.keys()
    assert other.profiles["feature:amount"] == one.profiles["feature:amount"]


def test_who_tries_values_without_the_key_finds_none(tmp_path: Path) -> None:
    make_value_key(tmp_path)
    [window] = windows(value_key(tmp_path, "loans"))
    text = str(window) + window.encode().hex()
    for value in IBANS:
        assert value not in text
        for known in (b"", b"loans", FILE.encode(), VARIABLE.encode()):
            for tagged in (value.encode(), b"str" + value.encode()):
                digest = hashlib.blake2b(tagged, digest_size=8, key=known).digest()
                assert f"{int.from_bytes(digest) >> 1:016x}" not in text
                assert str(int.from_bytes(digest) >> 1) not in text
        for plain in (hashlib.sha256, hashlib.md5, hashlib.sha1):
            assert plain(value.encode()).hexdigest()[:16] not in text


def test_each_stream_has_a_key_of_its_own(tmp_path: Path) -> None:
    make_value_key(tmp_path)
    assert value_key(tmp_path, "loans") != value_key(tmp_path, "cards")
    assert len(value_key(tmp_path, "loans")) == 32


def test_without_a_key_there_are_counts_alone_and_nothing_drifts_when_there_is_one(tmp_path: Path) -> None:
    assert value_key(tmp_path, "loans") == b""
    [counted] = windows(b"")
    found = counted.profiles["feature:iban"]
    assert (found.types, found.rest, found.categories, found.hashes) == ({"str": 100}, 100, {}, [])
    assert distinct(found) != distinct(found), "not known"
    [hashed] = windows(b"k" * 32, IBANS[:1])
    both = merge([counted, hashed], 300_000).profiles["feature:iban"]
    assert (both.types, both.hashes, both.hashes_are_all) == ({"str": 200}, [], False)
    names = RowNames()
    rows = [row_of(each, names) for each in [counted] * 20]
    row = row_of(hashed, names)
    assert row is not None
    basis = basis_of(Rows([each for each in rows if each is not None], len(names.subjects), 0), names)
    assert list(novelties(row, basis)) == []


def test_the_environment_is_over_the_file_and_both_are_checked(tmp_path: Path) -> None:
    make_value_key(tmp_path)
    secret = "0123456789abcdef" * 4
    given = value_key(tmp_path, "loans", {VARIABLE: secret})
    assert given == value_key(tmp_path, "loans", {VARIABLE: secret.upper() + "\n"}) != value_key(tmp_path, "loans")
    with pytest.raises(KeyProblem, match=f"{VARIABLE} is no key: it must be 64 hexadecimal digits") as short:
        value_key(tmp_path, "loans", {VARIABLE: secret[1:]})
    assert secret[1:] not in str(short.value)
    (tmp_path / FILE).write_text("no key")
    with pytest.raises(KeyProblem, match=f"{FILE} is no key"):
        value_key(tmp_path, "loans", {})
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(KeyProblem, match="can be read by others: chmod 600"):
        value_key(tmp_path, "loans", {})


def test_a_key_that_is_there_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert make_value_key(folder)
    before = (folder / FILE).read_text()
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600
    assert not make_value_key(folder)
    assert (folder / FILE).read_text() == before


def test_keys_init_makes_what_is_missing(tmp_path: Path, capsys: Any) -> None:
    from millstream.cli.app import run

    assert run(["keys", "init", "--home", str(tmp_path)]) == 0
    assert (tmp_path / "keys" / FILE).exists()
    assert FILE in capsys.readouterr().out
    assert run(["keys", "init", "--home", str(tmp_path)]) == 1
    (tmp_path / "keys" / FILE).unlink()
    assert run(["keys", "init", "--home", str(tmp_path)]) == 0
    assert (tmp_path / "keys" / FILE).read_text() not in capsys.readouterr().out
