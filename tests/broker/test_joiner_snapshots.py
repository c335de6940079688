"""A joiner on a real Kafka loses its disk, and what waits is in a snapshot alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from broker.log_roles import LogRoles
from broker.loop_helpers import until, warmed

from consumers.joiner.snapshots import Snapshots, StoreSnapshot
from model_store import FolderBackend
from schemas.topics import Names


def test_what_no_topic_has_any_more_is_joined_from_a_snapshot(bootstrap: str, prefix: str, tmp_path: Path) -> None:
    snapshots = Snapshots(FolderBackend(tmp_path / "models"), "logs")
    roles = LogRoles(warmed(bootstrap), Names("logs", prefix), tmp_path, snapshots=snapshots)
    roles.create()
    roles.feed("joiner", 0, 300, only="predictions")
    with roles.work("joiner") as run:

        def taken() -> bool:
            found = [each for each in snapshots.newest_first(0) if isinstance(each, StoreSnapshot)]
            return bool(found) and found[0].local.offsets[0] == 300

        until(taken, "a snapshot of all 300")
        run.stop()
    shutil.rmtree(tmp_path / "joiner")
    roles.delete_before("predictions", 300)
    roles.feed("joiner", 0, 300, only="labels")
    roles.work_off("joiner")
    assert roles.done("joiner") == [f"e{number}" for number in range(300)]
    assert [line for line in roles.said if "goes on from snapshot" in line]
