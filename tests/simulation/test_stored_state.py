"""State that another commit wrote: a log, a store and two joiners' disks, on which today's roles go on.

The archive was written in November 2026 by the commit before the code moved into its folders (a47ef0d).
`write_state.py` beside it in the archive is the program that wrote it, run with that commit's code.
"""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from simulation import oracle
from simulation import world as world_module
from simulation.log import LoggedRecord
from simulation.world import ROLES, TOPIC, Clock, World

from consumers.joiner.local_store import DiskStore
from consumers.learner import checkpoint_timer
from model_store import Signer
from runtime.kafka_client.records import CommittedOffset, Output, Partition

ARCHIVE: Final = Path(__file__).parents[1] / "data" / "state-before-the-folders.tar.xz"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return the stream as it was left: labels wait, and events are unread."""
    with tarfile.open(ARCHIVE) as archive:
        # Python 3.11.2 has no filters yet; later ones ask for one.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        archive.extractall(tmp_path)  # noqa: S202 - an archive of ours
    folder = tmp_path / "world"
    kept: dict[str, Any] = msgspec.msgpack.decode((folder / "world.msgpack").read_bytes())
    signer = Signer(Ed25519PrivateKey.from_private_bytes(kept["key"]))
    monkeypatch.setattr(world_module, "_SIGNER", signer)
    made = World("logistic regression")
    log = made.log
    log.now, log.ids = kept["now"], kept["ids"]
    for (topic, number), held in kept["records"]:
        log.records[Partition(topic, number)] = [
            LoggedRecord(topic, number, offset, time, key, value, tuple((name, data) for name, data in headers))
            for offset, (time, key, value, headers) in enumerate(held)
        ]
    log.places = {(group, Partition(*at)): CommittedOffset(offset, told) for group, at, offset, told in kept["places"]}
    made.backend._blobs = kept["blobs"]
    made.truths, made.early = kept["truths"], kept["early"]
    made.labels_of.update(kept["labels_of"])
    made.handed = [Output(*each) for each in kept["handed"]]
    made._uploaded = [Output(*each) for each in kept["uploaded"]]
    said: list[str] = []
    made.disks = [DiskStore(folder / f"disk-{number}", said.append) for number in range(2)]
    assert said == [], "a disk was thrown away"
    made.share("joiner", {0: frozenset({0}), 1: frozenset({1})})
    monkeypatch.setattr(checkpoint_timer, "time", Clock(made.clock))
    return made


def test_every_role_goes_on_with_what_the_old_code_stored(world: World) -> None:
    before = list(world.store.versions("sim"))
    learned, answered = len(world.log.read(TOPIC["examples"])), len(world.log.read(TOPIC["predictions"]))
    assert before[-1].epoch == 1
    assert before[-1].examples > 0
    for _ in range(12):
        world.publish()
        world.wait(5)
    for back in range(1, 31):
        world.label("right", len(world.truths) - back)  # of events whose features the old joiner has on its disk, too
        world.wait(3)
    for role in ROLES:
        for member in range(2):
            world.turn(role, member)
    world.settle()
    oracle.check(world)
    assert world.stopped == ""
    assert [said for said in world.said if "epoch" in said] == []
    assert len(world.log.read(TOPIC["examples"])) > learned
    assert len(world.log.read(TOPIC["predictions"])) > answered
    newest = world.store.versions("sim")[-1]
    assert (newest.epoch, newest.examples) > (before[-1].epoch, before[-1].examples)
