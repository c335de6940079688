"""The forwarder's place in the spool: kept with the records, checked against the spool, and its own by instance."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from raw_kafka import raw_admin
from system.oracle import read_all

from consumers.loop.instrumentation import Meter
from millstream.topics import admin
from runtime.exits import RoleRefused
from runtime.kafka_client.cluster import Cluster
from schemas.alerts import read_alert
from schemas.topics import Names
from server.forwarder.forwarder import Forwarder, ForwarderSettings, group
from server.spool.entries import SpooledRecord
from server.spool.errors import SpoolInUse
from server.spool.folder import SpoolFolder
from server.spool.spool import Made, Pending, Spool, SpoolLimits, Sync

NOW = 1_700_000_000_000


@pytest.fixture
def made(cluster: Cluster, names: Names) -> Names:
    admin.create(cluster, names, partitions=2, label_wait_ms=60_000)
    return names


def written(path: Path, *texts: str, limits: SpoolLimits | None = None) -> None:
    with closing(Spool(path, limits, lambda: NOW)) as spool:
        for text in texts:
            record = SpooledRecord("labels", 0, text.encode(), text.encode(), (("name", b"header"),))
            spool.write([Pending(lambda number, record=record: Made((record,), b""))])


def forward(cluster: Cluster, names: Names, path: Path, instance: str = "0", *, old_ms: int = 0, now: int = NOW) -> int:
    """Forward what there is; return how many entries were on Kafka before."""
    settings = ForwarderSettings(names, instance, path, old_ms)
    forwarder = Forwarder(cluster, settings, print, Meter(), lambda: now)
    with closing(forwarder):
        before = forwarder.open()
        forwarder.stop.set()
        forwarder.run()
        return before


def on(cluster: Cluster, names: Names, kind: str = "labels") -> list[bytes]:
    return [record.value for record in read_all(cluster.bootstrap, names.topic(kind))]


def test_it_continues_from_its_place_and_a_new_spool_from_its_beginning(
    cluster: Cluster, made: Names, tmp_path: Path
) -> None:
    written(tmp_path / "one", "a", "b")
    assert forward(cluster, made, tmp_path / "one") == 0
    written(tmp_path / "one", "c")
    (tmp_path / "one" / "forwarded.json").unlink()  # what was committed counts
    assert forward(cluster, made, tmp_path / "one") == 2
    written(tmp_path / "two", "d")
    assert forward(cluster, made, tmp_path / "two") == 0
    assert on(cluster, made) == [b"a", b"b", b"c", b"d"]


def test_a_name_that_the_forwarder_of_another_spool_uses_is_refused(
    cluster: Cluster, made: Names, tmp_path: Path
) -> None:
    written(tmp_path / "one", "a")
    written(tmp_path / "two", "b")
    forward(cluster, made, tmp_path / "one")
    forward(cluster, made, tmp_path / "two", "1")
    with pytest.raises(RoleRefused, match=r"the forwarder of another spool, [0-9a-f]{12}, uses the name 0 too"):
        forward(cluster, made, tmp_path / "two", "0")


def test_another_instance_continues_by_the_note_and_so_does_one_whose_place_kafka_has_deleted(
    cluster: Cluster, made: Names, tmp_path: Path
) -> None:
    written(tmp_path / "one", "a")
    forward(cluster, made, tmp_path / "one", "0")
    written(tmp_path / "one", "b")
    assert forward(cluster, made, tmp_path / "one", "1") == 1
    with raw_admin(cluster) as client:
        client.delete_groups([group(made, "1")])
    written(tmp_path / "one", "c")
    assert forward(cluster, made, tmp_path / "one", "1") == 2
    assert on(cluster, made) == [b"a", b"b", b"c"]


def test_one_forwarder_has_a_spool(cluster: Cluster, made: Names, tmp_path: Path) -> None:
    written(tmp_path, "a")
    with closing(Forwarder(cluster, ForwarderSettings(made, "0", tmp_path))), pytest.raises(SpoolInUse):
        Forwarder(cluster, ForwarderSettings(made, "1", tmp_path))


def test_segments_that_are_on_kafka_are_deleted_but_the_last(cluster: Cluster, made: Names, tmp_path: Path) -> None:
    written(tmp_path, *(f"{number}" for number in range(100)), limits=SpoolLimits(most_bytes=1 << 15))
    before = sorted(path.name for path in (tmp_path / "lanes" / "0").glob("*.segment"))
    assert len(before) > 2
    forward(cluster, made, tmp_path)
    after = [path.name for path in (tmp_path / "lanes" / "0").glob("*.segment")]
    assert after == before[-1:]
    written(tmp_path, "more")
    assert forward(cluster, made, tmp_path) == 100
    assert on(cluster, made) == [f"{number}".encode() for number in range(100)] + [b"more"]


def test_entries_that_come_late_raise_an_alert_once(cluster: Cluster, made: Names, tmp_path: Path) -> None:
    written(tmp_path, "a")
    forward(cluster, made, tmp_path, old_ms=30_000, now=NOW + 40_000)
    written(tmp_path, "b")
    forward(cluster, made, tmp_path, old_ms=30_000, now=NOW + 50_000)
    written(tmp_path, "c")
    forward(cluster, made, tmp_path, old_ms=30_000, now=NOW + 1_000)
    told = [read_alert(value) for value in on(cluster, made, "alerts")]
    assert [(each.name, each.state) for each in told] == [("forwarder.age", "raised"), ("forwarder.age", "cleared")]
    assert "40 s late" in told[0].message


@pytest.mark.parametrize("committed", [True, False])
def test_a_transaction_of_unknown_outcome_is_looked_for_before_it_is_sent_again(
    cluster: Cluster, made: Names, tmp_path: Path, *, committed: bool
) -> None:
    now = time.time_ns() // 1_000_000
    written(tmp_path, "a", "b")
    forward(cluster, made, tmp_path, now=now)
    written(tmp_path, "c", "d")
    if committed:
        forward(cluster, made, tmp_path, now=now)
    SpoolFolder(tmp_path).note({0: 4}, {0: 2}, now)  # as before the commit
    with raw_admin(cluster) as client:
        client.delete_groups([group(made, "0")])
    written(tmp_path, "e")
    assert forward(cluster, made, tmp_path, now=now) == (4 if committed else 2)
    assert on(cluster, made) == [b"a", b"b", b"c", b"d", b"e"]


class Stop(threading.Event):
    """Is set by the first look at an empty spool; `gathered` has the waits before."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        if timeout > 1.0:
            self.gathered.append(timeout)
            return False
        self.set()
        return True


@pytest.mark.parametrize(
    ("entries", "sync", "gathers"), [(99, "process", False), (100, "process", True), (100, "kafka", False)]
)
def test_many_entries_are_gathered_unless_callers_wait_for_the_commit(
    cluster: Cluster, made: Names, tmp_path: Path, entries: int, sync: Sync, *, gathers: bool
) -> None:
    written(tmp_path, *(f"{number}" for number in range(entries)), limits=SpoolLimits(sync=sync))
    with closing(Forwarder(cluster, ForwarderSettings(made, "0", tmp_path, gather_s=60.0))) as forwarder:
        forwarder.stop = stop = Stop()
        forwarder.open()
        forwarder.run()
    assert [wait > 30.0 for wait in stop.gathered] == [True] * gathers
    assert len(on(cluster, made)) == entries
