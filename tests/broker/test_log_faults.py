"""A log that is not the one a role left: it stops, status says so, and the documented command goes on; no jump."""

from __future__ import annotations

from pathlib import Path

import pytest
from broker.log_roles import LogRoles
from broker.loop_helpers import until, warmed
from raw_kafka import raw_admin

from consumers.loop.log_faults import LogRefused
from millstream.status.snapshot import kinds_read
from runtime.exits import RoleRefused
from schemas.topics import Names

ROLES = ("predictor", "joiner", "learner")


@pytest.fixture
def roles(bootstrap: str, prefix: str, tmp_path: Path) -> LogRoles:
    made = LogRoles(warmed(bootstrap), Names("logs", prefix), tmp_path)
    made.create()
    return made


def ids(first: int, last: int) -> list[str]:
    return [f"e{number}" for number in range(first, last)]


@pytest.mark.parametrize("role", ROLES)
def test_who_is_overtaken_by_retention_stops_and_goes_on_when_told(roles: LogRoles, role: str) -> None:
    roles.feed(role, 0, 20)
    roles.work_off(role)
    assert roles.status().log_faults == ()
    roles.feed(role, 20, 60)
    for kind in kinds_read(role):
        roles.delete_before(kind, 50)

    faults = roles.refusal(role).faults
    assert {fault.state for fault in faults} == {"overtaken"}
    assert len(faults) == len(kinds_read(role))
    assert all((fault.gone, fault.beginning, fault.end) == (30, 50, 60) for fault in faults)
    seen = roles.status()
    assert {(each.state, each.gone) for each in seen.log_faults} == {("overtaken", 30)}
    assert any(f"`millstream {role} logs --new-epoch" in line for line in seen.alerts)
    assert roles.done(role) == (["20"] if role == "learner" else ids(0, 20))

    roles.work_off(role, go_on=True)
    assert roles.done(role) == (["30"] if role == "learner" else [*ids(0, 20), *ids(50, 60)])
    assert roles.status().log_faults == ()
    assert roles.status().events_gone == (30 if role == "predictor" else 0)
    roles.feed(role, 60, 70)
    roles.work_off(role)
    assert roles.done(role) == (["40"] if role == "learner" else [*ids(0, 20), *ids(50, 70)])


@pytest.mark.parametrize(
    ("role", "kinds"),
    [
        ("predictor", ["features"]),
        ("joiner", ["predictions"]),
        ("joiner", ["labels"]),
        ("joiner", ["predictions", "labels"]),
        ("learner", ["examples"]),
    ],
)
def test_a_topic_made_again_is_not_read_as_the_one_it_was(roles: LogRoles, role: str, kinds: list[str]) -> None:
    """It has more in it than was read of the old one: by its offsets alone nobody would notice."""
    roles.feed(role, 0, 20)
    roles.work_off(role)
    roles.recreate(*kinds)
    roles.feed(role, 100, 140)

    faults = roles.refusal(role).faults
    assert [(fault.state, fault.topic) for fault in faults] == [
        ("recreated", roles.names.topic(kind)) for kind in kinds
    ]
    assert roles.done(role) == (["20"] if role == "learner" else ids(0, 20))

    roles.work_off(role, go_on=True)
    assert roles.done(role) == (["60"] if role == "learner" else [*ids(0, 20), *ids(100, 140)])
    assert roles.status().log_faults == ()
    roles.work_off(role)
    assert roles.done(role) == (["60"] if role == "learner" else [*ids(0, 20), *ids(100, 140)])


@pytest.mark.parametrize("role", ROLES)
def test_a_topic_made_again_under_a_role_at_work_stops_it(roles: LogRoles, role: str) -> None:
    roles.feed(role, 0, 20)
    with roles.work(role) as run:
        until(lambda: len(roles.done(role)) == 20 or roles.done(role) == ["20"], "20 records to be done")
        roles.recreate(*kinds_read(role))
        roles.feed(role, 100, 140)
        # That there was none for a moment, or that there is another: whichever it sees first.
        assert isinstance(run.wait(40), RoleRefused), run.failure
    assert {fault.state for fault in roles.refusal(role).faults} == {"recreated"}
    assert roles.done(role) == (["20"] if role == "learner" else ids(0, 20))


@pytest.mark.parametrize("role", ROLES)
def test_records_deleted_under_a_role_that_is_held_stop_it_when_it_goes_on(roles: LogRoles, role: str) -> None:
    """The place falls out of the log while the role has it: it says so as if it had been down."""
    roles.feed(role, 0, 20)
    with roles.work(role) as run:
        until(lambda: len(roles.done(role)) == 20 or roles.done(role) == ["20"], "20 records to be done")
        processor = run.processor
        everything = frozenset(run.loop._partitions)
        processor.paused = lambda: everything
        until(lambda: not run.loop._progress.standing({}, 0.0) and run.loop._last, "the pause")
        roles.feed(role, 20, 60)
        for kind in kinds_read(role):
            roles.delete_before(kind, 50)
        del processor.paused
        failure = run.wait(40)
    assert isinstance(failure, LogRefused), failure
    # Before it was held, a joiner may have put a tick of its own on labels, and read it.
    assert {fault.place for fault in failure.faults} <= ({20, 21} if role == "joiner" else {20})
    assert all(fault.gone == 50 - (fault.place or 0) for fault in failure.faults), failure
    assert roles.done(role) == (["20"] if role == "learner" else ids(0, 20))


def test_a_predictor_whose_places_kafka_has_forgotten_does_not_answer_everything_again(roles: LogRoles) -> None:
    """As after a week without members: the topic and the disk are still there."""
    roles.feed("predictor", 0, 20)
    roles.work_off("predictor")
    with raw_admin(roles.cluster) as client:
        client.delete_groups([roles.names.group("predictor")])
    roles.feed("predictor", 20, 30)

    [fault] = roles.refusal("predictor").faults
    assert (fault.state, fault.place) == ("forgotten", 20)
    assert roles.done("predictor") == ids(0, 20)

    roles.work_off("predictor", go_on=True)
    assert roles.done("predictor") == ids(0, 30)
    roles.feed("predictor", 30, 40)
    roles.work_off("predictor")
    assert roles.done("predictor") == ids(0, 40)
