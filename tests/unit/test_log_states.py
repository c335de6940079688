"""A role's place beside a log that has changed: what is seen from outside, and what a predictor remembers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from unit.test_status import _DISK, _done, _with_end

from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import short_ids, way
from consumers.model.lanes import LaneFault, Lanes
from millstream.status.log_fault_states import log_faults
from millstream.status.report import Typed, as_json, report
from millstream.status.snapshot import Commit, Place, StreamSnapshot
from schemas.alerts import Alert
from schemas.events import Lane
from schemas.model_updates import ModelUpdate, Published

IDS = {kind: f"id-of-{kind}" for kind in ("features", "predictions", "labels", "examples")}


def announced(model: str) -> Published:
    return Published(model, 0, 1, 30, IDS["examples"], 36, "00", 1, 2, {})


def healthy() -> StreamSnapshot:
    """Return a stream whose roles know their topics."""
    published = ModelUpdate(1, announced("s"))
    each = (short_ids(IDS["predictions"]), short_ids(IDS["labels"]))
    knows: dict[str, dict[str, Any]] = {
        "predictor": {"topic_id": short_ids(IDS["features"]), "gone": 3},
        "joiner": {"each": each},
        "learner": {},
    }
    done = _done()
    committed = {
        role: {
            place: Commit(commit.offset, msgspec.structs.replace(commit.metadata, **knows[role]))
            for place, commit in commits.items()
            if commit.metadata is not None
        }
        for role, commits in done.committed.items()
    }
    return replace(done, committed=committed, topic_ids=IDS, published=published, published_by={"s": published})


def states(snapshot: StreamSnapshot) -> set[tuple[str, str, str, int]]:
    return {(each.role, each.state, each.topic, each.gone) for each in log_faults(snapshot, "s")}


def test_roles_at_their_places_in_logs_they_know_are_fine() -> None:
    assert log_faults(healthy(), "s") == ()


@pytest.mark.parametrize(
    ("place", "role"),
    [(("features", 0), "predictor"), (("labels", 1), "joiner"), (("examples", 0), "learner")],
)
def test_a_log_that_begins_after_a_place_or_ends_before_it_is_seen(place: Place, role: str) -> None:
    snapshot = replace(healthy(), members={})
    at = snapshot.ends[place]
    moved = replace(snapshot, begins={**snapshot.begins, place: at + 10}, ends={**snapshot.ends, place: at + 20})
    assert states(moved) == {(role, "overtaken", f"s.{place[0]}", 10)}
    assert states(_with_end(snapshot, place, at - 4)) == {(role, "truncated", f"s.{place[0]}", 4)}


def test_a_learner_at_work_has_read_on_from_its_newest_version() -> None:
    snapshot = healthy()
    moved = replace(
        snapshot, begins={**snapshot.begins, ("examples", 0): 40}, ends={**snapshot.ends, ("examples", 0): 50}
    )
    assert states(moved) == set()
    assert states(replace(moved, members={})) == {("learner", "overtaken", "s.examples", 4)}


def test_the_learner_of_each_model_has_a_place_of_its_own_whichever_model_serves() -> None:
    snapshot = healthy()
    forest = ModelUpdate(2, msgspec.structs.replace(announced("s.forest"), offset=34))
    moved = replace(
        snapshot,
        begins={**snapshot.begins, ("examples", 0): 40},
        ends={**snapshot.ends, ("examples", 0): 50},
        every=(*snapshot.every, "learner.forest"),
        published=forest,
        published_by={**snapshot.published_by, "s.forest": forest},
    )
    assert states(moved) == {("learner.forest", "overtaken", "s.examples", 6)}
    [fault] = log_faults(moved, "s")
    assert way(fault.role, "s") == "`millstream learner s --model forest --new-epoch keep` goes on without what is gone"


@pytest.mark.parametrize(
    ("kind", "role"),
    [("features", "predictor"), ("predictions", "joiner"), ("labels", "joiner"), ("examples", "learner")],
)
def test_another_topic_of_the_same_name_is_seen_where_its_place_is_still_known(kind: str, role: str) -> None:
    snapshot = replace(healthy(), topic_ids={**IDS, kind: "another"})
    assert {state[:3] for state in states(snapshot)} == {(role, "recreated", f"s.{kind}")}


def test_of_a_topic_whose_places_kafka_forgot_the_joiners_other_input_tells() -> None:
    snapshot = replace(healthy(), topic_ids={**IDS, "labels": "another"})
    places = {place: commit for place, commit in snapshot.committed["joiner"].items() if place[0] != "labels"}
    forgotten = replace(snapshot, committed={**snapshot.committed, "joiner": places})
    assert states(forgotten) == {("joiner", "recreated", "s.labels", 0)}


def test_status_has_one_line_for_each_with_the_command_and_none_twice() -> None:
    snapshot = _with_end(replace(healthy(), members={}), ("examples", 0), 30)
    found = report(snapshot, "s", "b:1", _DISK, typed=Typed("s.py", "s.py"))
    [line] = [line for line in found.alerts if "truncated" in line]
    assert "before the place 36" in line
    assert "`millstream learner s.py --new-epoch keep`" in line
    assert found.events_gone == 6
    [told] = as_json(found)["log_faults"]
    assert (told["state"], told["gone"], told["place"], told["end"]) == ("truncated", 6, 36, 30)
    raised = Alert("learner.examples-0.log", "critical", "raised", "was truncated", 1, {})
    again = report(replace(snapshot, alerts=(raised,)), "s", "b:1", _DISK)
    assert len([line for line in again.alerts if "truncated" in line]) == 1


def test_lanes_of_a_log_that_is_read_again_pass_over_all_that_was_admitted_and_then_are_strict() -> None:
    lanes = Lanes()
    for number in range(3000):
        assert lanes.admit(Lane("0", "e", number), f"e{number}")
    lanes.read_again()
    lanes = Lanes.load(lanes.dump())
    assert not any(lanes.admit(Lane("0", "e", number), f"e{number}") for number in range(2500))
    with pytest.raises(LaneFault):  # what is remembered is compared: a joiner that has begun anew is noticed
        lanes.admit(Lane("0", "e", 2500), "another")
    assert lanes.admit(Lane("0", "e", 3000), "e3000")
    with pytest.raises(LaneFault):
        lanes.admit(Lane("0", "e", 5), "e5")


def test_which_topic_was_read_and_how_far_is_remembered_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "new" / "predictor-0.json"
    TopicMemory(path).remember("s.features", "one", {0: 5})
    assert TopicMemory(path).id_of("s.features") == "one"
    assert TopicMemory(path).place_of("s.features", "one", 0) == 5
    assert TopicMemory(path).place_of("s.features", "one", 1) is None
    assert TopicMemory(path).place_of("s.features", "another", 0) is None
    assert TopicMemory(path).id_of("another") == ""
    path.write_text('{"s.features": "one"}')
    assert TopicMemory(path).id_of("s.features") == "one"
    assert TopicMemory(path).place_of("s.features", "one", 0) is None
    path.write_bytes(b"\xff{")
    assert TopicMemory(path).id_of("s.features") == ""


def test_how_far_it_is_is_written_every_second_and_at_the_end(tmp_path: Path) -> None:
    path, now = tmp_path / "predictor-0.json", [0.0]
    memory = TopicMemory(path, lambda: now[0])

    def written(partition: int) -> int | None:
        return TopicMemory(path).place_of("s.features", "one", partition)

    memory.remember("s.features", "one", {0: 5})
    memory.remember("s.features", "one", {0: 6})
    assert written(0) == 5
    memory.remember("s.features", "one", {0: 7, 1: 3})
    assert (written(0), written(1)) == (7, 3), "a new partition is written at once"
    now[0] = 1.0
    memory.remember("s.features", "one", {0: 8})
    assert written(0) == 8
    memory.remember("s.features", "one", {0: 9})
    memory.write()
    assert (written(0), written(1)) == (9, 3)


def test_a_partition_that_another_instance_had_has_its_place(tmp_path: Path) -> None:
    TopicMemory(tmp_path / "predictor-0.json").remember("s.features", "one", {0: 5, 1: 9})
    TopicMemory(tmp_path / "predictor-1.json").remember("s.features", "one", {1: 12})
    TopicMemory(tmp_path / "joiner-1.json").remember("s.features", "one", {2: 1})
    third = TopicMemory(tmp_path / "predictor-2.json")
    assert [third.place_of("s.features", "one", number) for number in range(3)] == [5, 12, None]
    assert third.id_of("s.features") == ""


def test_a_file_of_places_that_cannot_be_written_is_told_and_written_when_it_can(tmp_path: Path) -> None:
    told: list[tuple[Path, bool]] = []
    state = tmp_path / "state"
    state.write_text("in the way")
    memory = TopicMemory(state / "predictor-0.json", written=lambda path, error: told.append((path, error is None)))
    memory.remember("s.features", "one", {0: 5})
    state.unlink()
    memory.remember("s.features", "one", {0: 6, 1: 2})
    assert told == [(state / "predictor-0.json", False), (state / "predictor-0.json", True)]
    assert TopicMemory(state / "predictor-0.json").place_of("s.features", "one", 0) == 6
