"""A broker that lost the ends of its logs: the roles stop, and go on without repeating what they have done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from broker.log_roles import LogRoles
from broker.loop_helpers import warmed

from millstream.embedded_kafka.broker import EmbeddedBroker
from millstream.status.snapshot import kinds_read
from schemas.topics import Names

ROLES = ("predictor", "joiner", "learner")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    made = EmbeddedBroker(tmp_path / "broker", port=0)
    made.start()
    yield made
    made.kill()


def lose_logs(home: Path, topics: list[str]) -> None:
    """Do what a disk does that lost its newest files: the topics are the same, and hold nothing any more."""
    (home / "data" / ".kafka_cleanshutdown").unlink(missing_ok=True)
    for topic in topics:
        for pattern in ("*.log", "*.index", "*.timeindex", "*.snapshot", "*.txnindex", "leader-epoch-checkpoint"):
            for file in (home / "data" / f"{topic}-0").glob(pattern):
                file.unlink()


def test_who_stands_beyond_the_end_of_its_log_stops_and_goes_on_when_told(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    roles = LogRoles(warmed(broker.status().bootstrap), Names("logs"), tmp_path)
    roles.create()
    for role in ROLES:
        roles.feed(role, 0, 20)
        roles.work_off(role)
    broker.stop()
    lose_logs(tmp_path / "broker", [roles.names.topic(kind) for role in ROLES for kind in kinds_read(role)])
    broker.start()
    seen = {(each.role, each.state, each.topic) for each in roles.status().log_faults}
    assert seen == {(role, "truncated", f"logs.{kind}") for role in ROLES for kind in kinds_read(role)}

    for role in ("predictor", "joiner"):
        assert {fault.state for fault in roles.refusal(role).faults} == {"truncated"}
        before = roles.done(role)
        roles.work_off(role, go_on=True)
        assert roles.done(role) == before
        roles.feed(role, 100, 105)
        roles.work_off(role)
        assert roles.done(role) == [*before, *(f"e{number}" for number in range(100, 105))]

    # The joiner has gone on to write since the learner's log was cut short: that is learned, and once.
    assert roles.done("learner") == ["40"]
    assert {fault.state for fault in roles.refusal("learner").faults} == {"truncated"}
    roles.work_off("learner", go_on=True)
    assert roles.done("learner") == ["45"]
    roles.feed("learner", 100, 105)
    roles.work_off("learner")
    assert roles.done("learner") == ["50"]
    assert roles.status().log_faults == ()
