"""What a snapshot of a stream means: lag, labels by state, the served version, and when a run is done."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from consumers.intake.offset_metadata import IntakeMetadata
from consumers.joiner.offset_metadata import JoinerMetadata
from consumers.learner.offset_metadata import LearnerMetadata
from consumers.predictor.offset_metadata import PredictorMetadata
from millstream.processes.idle_watch import IdleWatch
from millstream.reading.topic_readers import Counted
from millstream.status.caught_up import caught_up
from millstream.status.render import learning
from millstream.status.report import Typed, as_json, labels, progress, report, served
from millstream.status.snapshot import Commit, Place, StreamSnapshot
from schemas.alerts import Alert
from schemas.model_updates import Learning, ModelUpdate, Published, Serving

_DISK = (5 << 30, 9 << 30)


def _joined(sequence: int, waiting: tuple[int, int], **counts: int) -> JoinerMetadata:
    return JoinerMetadata(sequence, "e", "ids", counts, waiting, clock=(1, 2))


def _done(version: str = "1/30", learned: int = 30) -> StreamSnapshot:
    """Return a stream of two partitions in which everything is read."""
    ends: dict[Place, int] = {("examples", 0): 36, ("dead-letters", 0): 0}
    for partition in (0, 1):
        ends |= {("features", partition): 20, ("predictions", partition): 24, ("labels", partition): 15}
    committed = {
        "predictor": {
            ("features", 0): Commit(20, PredictorMetadata("1/20", 9_000, 400)),
            ("features", 1): Commit(20, PredictorMetadata("1/30", 9_500, 300)),
        },
        "joiner": {
            (kind, partition): Commit(ends[kind, partition], note)
            for partition, note in enumerate((_joined(14, (6, 0), joined=14, late=1), _joined(16, (4, 2), joined=12)))
            for kind in ("predictions", "labels")
        },
        "learner": {("examples", 0): Commit(36, LearnerMetadata(version, learned=learned))},
    }
    return StreamSnapshot(10_000, dict.fromkeys(ends, 0), ends, committed, {"predictor": 2, "joiner": 1, "learner": 1})


def _with_end(snapshot: StreamSnapshot, place: Place, end: int) -> StreamSnapshot:
    return replace(snapshot, ends={**snapshot.ends, place: end})


def test_the_report_has_the_client_of_each_process_that_runs() -> None:
    clients = {"predictor": {"predictor-0": "librdkafka 2.16.1", "predictor-1": "kafka-python 3.0.12"}, "joiner": {}}
    now = replace(_done(), clients=clients, crashed=("predictor-1",))
    stages = as_json(report(now, "fraud", "k:1", _DISK))["stages"]
    assert stages["predictor"]["clients"] == {"predictor-0": "librdkafka 2.16.1"}
    assert stages["joiner"]["clients"] == stages["learner"]["clients"] == {}


def test_lag_is_what_the_group_has_not_read_of_its_inputs() -> None:
    behind = _with_end(_with_end(_done(), ("labels", 1), 20), ("features", 0), 27)
    assert [behind.lag(role) for role in ("predictor", "joiner", "learner")] == [7, 5, 0]


def test_a_role_that_never_ran_lags_by_all_that_is_kept() -> None:
    snapshot = replace(_done(), committed={}, begins={**_done().begins, ("features", 0): 15})
    assert snapshot.lag("predictor") == 5 + 20


def test_labels_are_counted_in_one_state_each_over_all_partitions() -> None:
    assert labels(_done()) == {
        "waiting": 2,
        "joined": 26,
        "duplicate": 0,
        "correction": 0,
        "contradicting": 0,
        "unmatched": 1,
        "refused": 0,
    }


def test_what_serves_is_the_newest_swap() -> None:
    published = Published("s", 0, 1, 40, "id", 44, "00", 1, 2, {"ROCAUC": 0.123456789012345})
    snapshot = replace(
        _done(),
        published=ModelUpdate(9_900, published),
        serving=ModelUpdate(1, Serving("s", 0, 1, 30, "ann", "")),
        learning=ModelUpdate(2, Learning(0, paused=True, by="ann", why="")),
    )
    model = served(snapshot)
    assert (model.served, model.age_ms, model.delay_ms) == ("1/30", 500, 300)
    assert (model.newest, model.pinned, model.paused) == ("1/40", "1/30", True)
    assert model.metrics["ROCAUC"] == 0.123456789012345


def test_facts_of_a_model_are_those_of_the_model_that_serves() -> None:
    own = LearnerMetadata("1/30", learned=30, model_bytes=1_000, full=True)
    forest = LearnerMetadata("forest:1/20", learned=20, model_bytes=5_000_000)
    several = replace(
        _done(),
        every=(*_done().every, "learner.forest"),
        committed={
            **_done().committed,
            "learner": {("examples", 0): Commit(30, own)},
            "learner.forest": {("examples", 0): Commit(20, forest)},
        },
        published=ModelUpdate(9_900, Published("s.forest", 0, 1, 20, "id", 44, "00", 1, 2, {"ROCAUC": 0.9})),
        learning_of={"s.forest": ModelUpdate(2, Learning(0, paused=True, by="ann", why="", model="s.forest"))},
    )
    main, other = served(replace(several, serves="s")), served(replace(several, serves="s.forest"))
    assert (main.model_bytes, main.full, main.paused) == (1_000, True, False)
    assert (other.model_bytes, other.full, other.paused) == (5_000_000, False, True)
    found = report(replace(several, serves="s.forest"), "s", "b:1", _DISK)
    assert [each for each in found.alerts if "paused" in each] == [
        "learning of forest is paused: `millstream resume s --model forest` restarts it"
    ]


def test_a_pause_of_the_stream_s_own_model_is_told_whichever_serves() -> None:
    paused = ModelUpdate(2, Learning(0, paused=True, by="ann", why="odd labels"))
    found = report(replace(_done(), learning=paused, serves="s.forest"), "s", "b:1", _DISK)
    assert not found.model.paused
    assert "learning is paused by ann (odd labels): `millstream resume s` restarts it" in found.alerts


def test_a_model_that_is_full_is_seen_with_its_size_and_keeps_no_run_waiting() -> None:
    note = LearnerMetadata("1/30", learned=30, model_bytes=12_000_000, full=True)
    snapshot = replace(_done(), committed={**_done().committed, "learner": {("examples", 0): Commit(30, note)}})
    model = served(snapshot)
    assert (model.full, model.model_bytes) == (True, 12_000_000)
    assert learning(model) == "stopped: the model is as large as it may be"
    watch = IdleWatch(5.0)
    assert [watch.note(snapshot, now) for now in (0.0, 6.0)] == ["busy", "full"]


def test_what_roles_have_raised_is_a_line_and_in_the_json() -> None:
    alert = Alert("learner.memory", "critical", "raised", "the model is full", 5, {"bytes": "7"})
    found = report(replace(_done(), alerts=(alert,)), "s", "b:1", _DISK)
    assert found.alerts == ("learner.memory: the model is full",)
    assert as_json(found)["raised"] == [
        {"name": "learner.memory", "severity": "critical", "state": "raised", "message": "the model is full", "at": 5}
        | {"details": {"bytes": "7"}}
    ]


def test_the_report_says_which_roles_are_down_and_what_else_is_wrong() -> None:
    snapshot = replace(_with_end(_done(), ("dead-letters", 0), 2), members={"predictor": 2}, missing=("labels",))
    found = report(snapshot, "s", "b:1", (1000, 2000), letters=Counted(1, exact=False), typed=Typed("s.py", "s.py"))
    said = " ".join(found.alerts)
    for part in ("no joiner is running", "no learner is running", "`millstream dead-letters s.py`", "disk"):
        assert part in said
    assert "no topic labels: run `millstream topics create s.py`" in said
    assert "no predictor" not in said
    assert found.events_waiting == 10


def test_offsets_that_hold_no_dead_letter_raise_no_alarm() -> None:
    found = report(_with_end(_done(), ("dead-letters", 0), 2), "s", "b:1", _DISK)
    assert (found.dead_letters, found.dead_letters_exact, found.alerts) == (0, True, ())


def test_throughput_is_what_moved_between_two_looks() -> None:
    before = _done("1/10", 10)
    [predictor, joiner, learner] = report(_done(), "s", "b:1", _DISK, before, 2.0).stages
    assert (predictor.per_second, joiner.per_second, learner.per_second) == (0.0, 0.0, 10.0)
    assert [progress(_done(), role) for role in ("predictor", "joiner", "learner")] == [40, 30, 30]


def test_all_is_done_only_when_all_is_read_and_checkpointed() -> None:
    assert caught_up(_done())
    assert not caught_up(_done("1/20", 30))
    assert not caught_up(_with_end(_done(), ("features", 1), 21))
    assert not caught_up(_with_end(_done(), ("examples", 0), 37))
    assert not caught_up(replace(_done(), committed={**_done().committed, "learner": {}}))


def test_a_run_is_idle_once_nothing_moved_for_the_span() -> None:
    watch = IdleWatch(5.0)
    assert watch.note(_done(), 100.0) == "busy"
    assert watch.note(_done(), 104.9) == "busy"
    assert watch.note(_done(), 105.0) == "done"


def test_what_moves_begins_the_wait_anew() -> None:
    watch = IdleWatch(5.0)
    watch.note(_done("1/20", 20), 100.0)
    assert watch.note(_done(), 105.0) == "busy"
    assert watch.note(_done(), 109.9) == "busy"
    assert watch.note(_done(), 110.0) == "done"


def test_a_run_that_stands_still_with_work_left_is_not_idle() -> None:
    watch = IdleWatch(5.0)
    behind = _with_end(_done(), ("features", 0), 21)
    assert {watch.note(behind, 100.0 + second) for second in range(60)} == {"busy"}


def test_a_pause_with_examples_waiting_is_no_end_and_is_told_from_work() -> None:
    watch = IdleWatch(5.0)
    paused = ModelUpdate(2, Learning(0, paused=True, by="ann", why=""))
    waiting = replace(_with_end(_done(), ("examples", 0), 37), learning=paused)
    assert [watch.note(waiting, at) for at in (100.0, 105.0)] == ["busy", "paused"]


def test_a_challenger_that_learns_nothing_holds_nobody_up() -> None:
    watch, behind = IdleWatch(5.0), {("examples", 0): Commit(20, LearnerMetadata("1/15", learned=15, at=20))}
    two = replace(_done(), every=(*_done().every, "learner.forest"))
    two = replace(two, committed={**two.committed, "learner.forest": behind})
    assert not caught_up(two)
    decided = ModelUpdate(2, Learning(0, paused=True, by="ann", why="", model="s.forest"))
    paused = replace(two, learning_of={"s.forest": decided})
    assert caught_up(paused)
    full = {("examples", 0): Commit(20, LearnerMetadata("1/15", learned=15, at=20, full=True))}
    assert caught_up(replace(two, committed={**two.committed, "learner.forest": full}))
    main = ModelUpdate(2, Learning(0, paused=True, by="ann", why=""))
    both = replace(_with_end(paused, ("examples", 0), 37), learning=main)
    assert [watch.note(both, at) for at in (100.0, 105.0)] == ["busy", "paused"]


def test_a_replay_is_behind_whatever_is_committed() -> None:
    done = _done()
    learner = {("examples", 0): Commit(36, LearnerMetadata("1/30", learned=30, at=3))}
    replaying = replace(done, committed={**done.committed, "learner": learner})
    assert replaying.lag("learner") > 0
    assert not caught_up(replaying)


def _with_clock(commit: Commit, labels: int) -> JoinerMetadata:
    assert isinstance(commit.metadata, JoinerMetadata)
    return msgspec.structs.replace(commit.metadata, clock=(1, labels))


def test_the_joiners_ticks_on_labels_keep_no_run_alive() -> None:
    watch = IdleWatch(5.0)
    for second in range(6):
        end = 15 + second
        ticked = _with_end(_done(), ("labels", 0), end)
        committed = {
            **ticked.committed,
            "joiner": {
                place: Commit(end if place == ("labels", 0) else commit.offset, _with_clock(commit, end))
                for place, commit in ticked.committed["joiner"].items()
            },
        }
        idle = watch.note(replace(ticked, committed=committed), 100.0 + second) == "done"
    assert idle


# --- labels that come from topics of others ----------------------------------------------------------


def _taking_in() -> StreamSnapshot:
    note = IntakeMetadata("x", mapped=7, skipped=2, refused=1)
    ends = {**_done().ends, ("from team.chargebacks", 0): 10, ("from team.chargebacks", 1): 4}
    return replace(
        _done(),
        ends=ends,
        begins=dict.fromkeys(ends, 0),
        committed={**_done().committed, "intake": {("from team.chargebacks", 0): Commit(10, note)}},
        members={**_done().members, "intake": 1},
        labels_from=("team.chargebacks", "reviews"),
        asked_for=("intake",),
    )


def test_an_intake_is_a_stage_where_labels_come_from_topics_of_others() -> None:
    assert [stage.role for stage in report(_done(), "s", "b", _DISK).stages] == ["predictor", "joiner", "learner"]
    now = report(_taking_in(), "s", "b", _DISK)
    intake = now.stages[1]
    assert (intake.role, intake.processes, intake.lag, intake.done) == ("intake", 1, 4, 7)
    assert now.labels_from == {
        "team.chargebacks": {"mapped": 7, "skipped": 2, "refused": 1, "lag": 4},
        "reviews": {"mapped": 0, "skipped": 0, "refused": 0, "lag": 0},
    }
    assert [line for line in now.alerts if "reviews" in line]
    assert not [line for line in now.alerts if "chargebacks" in line]


def test_a_stream_is_not_caught_up_before_the_labels_of_others_are_taken_in() -> None:
    behind = _taking_in()
    assert not caught_up(behind)
    read = {("from team.chargebacks", number): Commit(end) for number, end in ((0, 10), (1, 4))}
    assert caught_up(replace(behind, committed={**behind.committed, "intake": read}))


def test_an_intake_that_is_down_is_told() -> None:
    down = replace(_taking_in(), members={**_done().members, "intake": 0})
    assert "no intake is running" in report(down, "s", "b", _DISK).alerts
