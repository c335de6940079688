"""An object store whose calls fail, hang or lose their answers: one version each, whole, and nobody waits for long."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults_table import Tally
from object_server import BUCKET, Network, ObjectServer, object_server
from store_parts import draft, store_on, version

from model_store import AlreadyExists, Manifest, ModelStore, StoreError, StoreUnavailable, VersionId, dumps, open_store
from model_store.object_store import ObjectBackend, Patience

QUICK = Patience(connect=0.3, request=0.3, call=1.5, file=2.0, attempts=3)
# Where a call is to succeed, on a crowded machine too: only an answer that hangs takes longer.
STEADY = Patience(connect=5.0, request=3.0, call=20.0, attempts=3)
LOST_SECONDS = 3.5
URL = f"s3://{BUCKET}/faults"


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    with object_server(Network(hang_seconds=LOST_SECONDS)) as server:
        yield server


def contents(server: ObjectServer, name: str) -> bytes:
    server.network = Network()
    return ObjectBackend(URL).get(name, 1 << 20)


@pytest.mark.parametrize("fate", ["fails after", "hangs after"])
def test_a_put_that_arrived_and_whose_answer_was_lost_is_its_own(server: ObjectServer, fate: str) -> None:
    server.network.next = [fate]
    ObjectBackend(URL, STEADY).put_new("m/versions/1.json", b"ours")
    assert server.network.done == {fate: 1, "passes": 2}
    assert contents(server, "m/versions/1.json") == b"ours"


@pytest.mark.parametrize("fate", ["fails", "hangs", "fails after", "hangs after"])
def test_what_another_wrote_meanwhile_is_not_ours(server: ObjectServer, fate: str) -> None:
    ObjectBackend(URL).put_new("m/versions/2.json", b"theirs")
    server.network = Network(hang_seconds=LOST_SECONDS, next=[fate])
    with pytest.raises(AlreadyExists):
        ObjectBackend(URL, STEADY).put_new("m/versions/2.json", b"ours")
    assert contents(server, "m/versions/2.json") == b"theirs"


def test_the_very_bytes_of_another_are_still_another_s(server: ObjectServer) -> None:
    ObjectBackend(URL).put_new("m/versions/3.json", b"same")
    with pytest.raises(AlreadyExists):
        ObjectBackend(URL).put_new("m/versions/3.json", b"same")


def calls_of(backend: ObjectBackend, large: Path) -> dict[str, Callable[[], object]]:
    return {
        "put_new": lambda: backend.put_new("m/a", b"1"),
        "put_file": lambda: backend.put_file("m/b", large),
        "get": lambda: backend.get("m/there", 1 << 20),
        "names": lambda: backend.names("m"),
        "delete": lambda: backend.delete("m/there"),
    }


def test_no_call_waits_for_long_and_none_says_a_secret(server: ObjectServer, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(9 << 20))
    server.network = Network(share=1.0, hang_seconds=0.5)
    for name, call in calls_of(ObjectBackend(URL, QUICK), large).items():
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"model store s3://versions/faults: m") as raised:
            call()
        # As a bound, with room for a slow machine: all attempts of all patience would be less.
        assert time.monotonic() - began < 30, name
        assert "secret" not in str(raised.value)
        assert "AKIA" not in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_store_that_takes_connections_and_never_answers_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    with object_server(), socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        backend = ObjectBackend(URL, QUICK)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            backend.get("m/a", 1000)
        assert time.monotonic() - began < 30


def test_a_missing_library_is_one_line_with_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(StoreError, match=r"pip install 'millstream\[objects\]'"):
        open_store(URL, tmp_path / "keys", sign=False)


@pytest.mark.fault("F12")
def test_of_two_learners_that_race_one_has_each_version_and_it_is_whole(
    server: ObjectServer, rounds: Callable[[int, int], int], tally: Tally
) -> None:
    count = rounds(20, 200)
    server.network = Network(seed=7, share=0.2, hang_seconds=0.5)
    won: dict[int, list[str]] = {number: [] for number in range(count)}
    racers = [threading.Thread(target=race, args=(name, won)) for name in ("one", "two")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert {len(winners) for winners in won.values()} == {1}, won
    faults = {fate: times for fate, times in server.network.done.items() if fate != "passes"}
    assert len(faults) == 4, faults
    tally.row(sum(faults.values()), lost=0, repeated=0)
    server.network = Network()
    store = store_on(ObjectBackend(URL), None)
    assert store.versions("m") == [version(1, number) for number in range(count)]
    for number, winners in won.items():
        assert store.load(store.manifest(version(1, number)), "model") == {"by": winners[0], "number": number}


def race(name: str, won: dict[int, list[str]]) -> None:
    store = store_on(ObjectBackend(URL, QUICK))
    for number, winners in won.items():
        if published_by(store, version(1, number), name, number).cpu == name:
            winners.append(name)


def published_by(store: ModelStore, of: VersionId, name: str, number: int) -> Manifest:
    """Publish as a learner does, again and again while the store is away; return what is there in the end."""
    while True:
        try:
            return store.publish(draft(of, cpu=name), {"model": dumps({"by": name, "number": number})})
        except StoreUnavailable:
            continue
        except AlreadyExists as error:
            if error.manifest is not None:
                return error.manifest
