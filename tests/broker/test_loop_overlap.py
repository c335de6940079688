"""Commits that overlap with the next turn: only while the role is behind, and whole, once and in order as any other.

In each test the second turn's commit is shown to be under way while the third turn is processed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import test_loop_transactions as codes
from kafka.structs import TopicPartition
from loop_helpers import (
    LIMITS,
    Copier,
    Running,
    child,
    is_exact,
    make_topics,
    numbered,
    places,
    put,
    running,
    settings,
    until,
    warmed,
)
from overlapping import Counts, Noting, overlapping
from proxy import Proxy
from raw_kafka import raw_admin

from consumers.loop.loop import Loop
from consumers.loop.processor import Anew
from millstream.embedded_kafka.broker import EmbeddedBroker
from runtime.exits import Doubt, Fenced, RoleFailure
from runtime.failpoints import PLACES
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.transaction import Transactions

RECORDS = 6_000


@pytest.fixture
def proxy(bootstrap: str) -> Iterator[Proxy]:
    with Proxy(bootstrap) as proxy:
        yield proxy


@pytest.fixture
def backlog(cluster: Cluster, topics: str) -> str:
    """Return the prefix of topics with records that wait."""
    put(cluster, topics + "in", numbered(0, RECORDS))
    return topics


def place(cluster: Cluster, prefix: str) -> int:
    found = places(cluster, prefix + "group").get(TopicPartition(prefix + "in", 0))
    return 0 if found is None else int(found.offset)


def finish(cluster: Cluster, prefix: str) -> None:
    """Let a successor do the rest, and see that all is whole and once."""
    with running(cluster, settings(prefix), Copier(prefix)) as run:
        until(lambda: run.ended or place(cluster, prefix) == RECORDS, "the rest")
        run.stop()
    assert is_exact(cluster, prefix)


# --- when ------------------------------------------------------------------------------------------


def test_a_loop_that_is_behind_overlaps_its_commits_in_larger_turns(cluster: Cluster, backlog: str) -> None:
    put(cluster, backlog + "in", numbered(RECORDS, 40_000))
    sizes: list[int] = []
    copier = Copier(backlog, lambda batch: sizes.append(sum(map(len, batch.values()))))
    meter = Counts()
    run = Running(cluster, settings(backlog, most_behind=5_000), copier, meter)
    until(lambda: run.ended or place(cluster, backlog) == 40_000, "40,000 records")
    run.stop()
    assert meter.told.count("overlapped") >= 3
    assert 2_000 < max(sizes) <= 5_000
    committed = [next(iter(each.values())).offset for each in copier.commits]
    assert committed == sorted(committed)
    assert is_exact(cluster, backlog)


def test_what_a_meter_is_told_of_a_turn_comes_after_the_commit_of_the_turn_before(
    cluster: Cluster, backlog: str
) -> None:
    """It counts what was processed since the last commit as the work of the next."""
    meter = Counts()
    run = Running(cluster, settings(backlog), Copier(backlog), meter)
    until(lambda: run.ended or place(cluster, backlog) == RECORDS, "all records")
    run.stop()
    assert "overlapped" in meter.told
    open_turns = 0
    for told in meter.told:
        open_turns = {"processed": open_turns + 1, "committed": 0}.get(told, open_turns)
        assert open_turns <= 1, meter.told


def test_a_loop_that_keeps_up_never_overlaps(cluster: Cluster, topics: str) -> None:
    meter = Counts()
    copier = Copier(topics)
    run = Running(cluster, settings(topics), copier, meter)
    until(lambda: run.ended or copier.commits, "the loop to be at work")
    for number in range(0, 150, 15):
        put(cluster, topics + "in", numbered(number, number + 15))
        until(lambda number=number: run.ended or place(cluster, topics) == number + 15, "fifteen more")
    run.stop()
    assert meter.told.count("processed") >= 10
    assert "overlapped" not in meter.told


def test_a_processor_that_does_not_allow_it_never_overlaps(cluster: Cluster, backlog: str) -> None:
    meter = Counts()
    copier = Copier(backlog)
    copier.overlaps = False
    run = Running(cluster, settings(backlog), copier, meter)
    until(lambda: run.ended or place(cluster, backlog) == RECORDS, "all records")
    run.stop()
    assert meter.told.count("processed") > 2
    assert "overlapped" not in meter.told


def test_before_a_pause_the_commit_is_not_left_under_way(cluster: Cluster, prefix: str) -> None:
    """A turn that asks for a pause is committed before the pause is made, and more is read only after it."""
    make_topics(cluster, prefix, 2)
    put(cluster, prefix + "in", numbered(0, 2 * RECORDS), 2)

    class Pauses(Noting):
        def process(self, batch: Any) -> Any:
            outputs = super().process(batch)
            if self.calls.count("process") == 2:
                self.hold = frozenset(batch)
            return outputs

    copier = Pauses(prefix)
    run = Running(cluster, settings(prefix), copier)
    until(lambda: run.ended or copier.calls.count("process") > 3, "turns of the other partition")
    copier.hold = frozenset()
    until(lambda: run.ended or is_exact(cluster, prefix), "the rest")
    run.stop()
    begun = [number for number, call in enumerate(copier.calls) if call == "process"]
    assert copier.calls[begun[1] : begun[2]] == ["process", "committed", "committed"]


# --- failures --------------------------------------------------------------------------------------


@pytest.mark.fault("F7")
@pytest.mark.parametrize("forward", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize(
    ("api", "code"),
    [
        ("AddPartitionsToTxn", codes.BAD_STATE),
        ("Produce", codes.INVALID_RECORD),
        ("AddOffsetsToTxn", codes.OLD_EPOCH),
        ("TxnOffsetCommit", codes.UNKNOWN_MEMBER),
        ("TxnOffsetCommit", codes.ILLEGAL_GENERATION),
        ("EndTxn", codes.BAD_STATE),
    ],
)
def test_f7_when_an_overlapped_commit_fails_the_turn_beside_it_is_dropped(
    cluster: Cluster, proxy: Proxy, backlog: str, api: str, code: int, forward: bool
) -> None:
    with overlapping(proxy, backlog, lambda: proxy.fail(api, code, forward=forward)) as (run, meter):
        before = len(run.processor.commits)
        run.processor.go_on.set()
        failure = run.wait()
    assert isinstance(failure, (Doubt, Fenced))
    assert run.processor.turns == 3
    assert len(run.processor.commits) == before, "neither turn was committed"
    assert meter.told[-1] == "aborted"
    proxy.clear()
    finish(cluster, backlog)


@pytest.mark.fault("F8")
@pytest.mark.parametrize("code", [codes.OUT_OF_ORDER, codes.UNKNOWN_PRODUCER, codes.NO_MAPPING])
def test_f8_nothing_of_a_dead_overlapped_transaction_is_in_a_later_one(
    cluster: Cluster, proxy: Proxy, backlog: str, code: int
) -> None:
    with overlapping(proxy, backlog, lambda: proxy.fail("Produce", code)) as (run, _):
        run.processor.go_on.set()
        assert isinstance(run.wait(), RoleFailure)
    finish(cluster, backlog)


def test_fenced_in_an_overlapped_commit(cluster: Cluster, proxy: Proxy, backlog: str) -> None:
    with overlapping(proxy, backlog, lambda: proxy.hold("TxnOffsetCommit")) as (run, meter):
        namesake = Transactions(cluster, settings(backlog).instance, LIMITS)
        namesake.open()
        namesake.close()
        proxy.release()
        run.processor.go_on.set()
        failure = run.wait()
    assert isinstance(failure, Fenced)
    assert "give this one its own --instance" in str(failure)
    assert meter.told[-1] == "aborted"
    finish(cluster, backlog)


def test_an_outage_in_an_overlapped_commit(cluster: Cluster, proxy: Proxy, backlog: str) -> None:
    with overlapping(proxy, backlog, lambda: proxy.hold("TxnOffsetCommit")) as (run, _):
        proxy.refuse()
        run.processor.go_on.set()
        failure = run.wait()
    assert isinstance(failure, Doubt)
    proxy.refuse(False)
    proxy.clear()
    finish(cluster, backlog)


@pytest.mark.fault("F2")
@pytest.mark.parametrize("where", [each for each in PLACES if each.startswith("transaction.")])
def test_f2_killed_within_an_overlapped_commit(cluster: Cluster, backlog: str, bootstrap: str, where: str) -> None:
    """The third commit stays at this place until the turn after it is processed; then the process is killed."""
    with child(bootstrap, backlog, "tell=all", failpoints=f"{where}=hang@3") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert any(f"failpoint {where}: hang at call 3" in line for line in process.stderr)
        processed = commits = place_at = 0
        for line in process.stdout:
            what, _, number = line.partition(" ")
            if what == "committed":
                commits, place_at = commits + 1, int(number)
            elif what == "process":
                if commits == 2 and processed > place_at:
                    break  # a turn begins while the one before is neither committed nor given up
                processed += int(number)
        else:
            pytest.fail("the commit that hangs did not overlap with a turn")
        process.kill()
    finish(cluster, backlog)


@pytest.mark.full
def test_a_broker_killed_in_an_overlapped_commit(tmp_path: Path, prefix: str) -> None:
    broker = EmbeddedBroker(tmp_path / "broker", port=0)
    broker.start(timeout=120)
    try:
        cluster = warmed(broker.status().bootstrap)
        make_topics(cluster, prefix)
        put(cluster, prefix + "in", numbered(0, RECORDS))
        with (
            Proxy(cluster.bootstrap) as proxy,
            overlapping(proxy, prefix, lambda: proxy.hold("TxnOffsetCommit")) as (run, _),
        ):
            broker.kill()
            proxy.release()
            run.processor.go_on.set()
            assert isinstance(run.wait(), Doubt)
        broker.start(timeout=120)
        finish(cluster, prefix)
    finally:
        broker.stop()


class Defect(Exception):  # noqa: N818
    """An error of the processor."""


@pytest.mark.parametrize("refused", [False, True])
def test_an_error_in_the_turn_beside_leaves_no_commit_under_way(
    cluster: Cluster, proxy: Proxy, backlog: str, refused: bool
) -> None:
    """And where both fail, the first in the log's order is told."""

    def fail() -> None:
        raise Defect

    with overlapping(proxy, backlog, lambda: proxy.hold("TxnOffsetCommit"), fail) as (run, meter):
        if refused:
            proxy.fail("EndTxn", codes.BAD_STATE)
        proxy.release("TxnOffsetCommit")
        run.processor.go_on.set()
        failure = run.wait()
    assert meter.told[-1] == ("aborted" if refused else "committed")
    assert run.processor.calls[-1] == ("process" if refused else "committed")
    assert isinstance(failure, Doubt if refused else Defect)
    if refused:
        assert isinstance(failure.__context__, Defect)
    proxy.clear()
    finish(cluster, backlog)


# --- what waits for the commit in flight -----------------------------------------------------------


def test_told_to_end_it_ends_both_turns(cluster: Cluster, proxy: Proxy, backlog: str) -> None:
    with overlapping(proxy, backlog, lambda: proxy.hold("TxnOffsetCommit")) as (run, meter):
        handled = run.processor.counts[0]
        run.loop.stop()
        run.processor.go_on.set()
        assert not run.ended
        proxy.release()
        assert run.wait() is None
    assert "overlapped" in meter.told
    assert place(cluster, backlog) == handled
    finish(cluster, backlog)


def take_anew(run: Running) -> None:
    raise Anew


def rebalance(run: Running) -> None:
    run.loop._rebalanced.set()


def make_topic_again(run: Running) -> None:
    run.loop._topic_ids = dict.fromkeys(run.loop._topic_ids, "another")


@pytest.mark.parametrize("event", [take_anew, rebalance, make_topic_again])
def test_before_a_takeover_the_commit_lands_and_the_turn_beside_it_is_dropped(
    cluster: Cluster, proxy: Proxy, backlog: str, event: Callable[[Running], None]
) -> None:
    runs: list[Running] = []
    with overlapping(proxy, backlog, lambda: proxy.hold("TxnOffsetCommit"), lambda: event(runs[0])) as (run, _):
        runs.append(run)
        proxy.release()
        run.processor.go_on.set()
        until(lambda: run.ended or place(cluster, backlog) == RECORDS, "the rest")
        run.stop()
    calls = run.processor.calls
    again = calls.index("assigned", calls.index("process"))
    assert calls[again - 2 : again] in (["process", "committed"], ["committed", "committed"])
    if event is not make_topic_again:
        assert calls[again - 2 : again] == ["process", "committed"], "the third turn was dropped"
    assert is_exact(cluster, backlog)


def test_a_rebalance_waits_for_the_overlapped_commit(cluster: Cluster, proxy: Proxy, prefix: str) -> None:
    """Else the group's next generation would refuse it, and a process would end because another one came."""
    make_topics(cluster, prefix, 2)
    put(cluster, prefix + "in", numbered(0, 2 * RECORDS), 2)
    group = settings(prefix).group
    others: list[Running] = []

    def another_comes() -> Any:
        others.append(Running(cluster, settings(prefix, "other"), Copier(prefix)))
        until(lambda: state_of(cluster, group) == "PreparingRebalance", "the group to wait for its first member")
        # The first hears of it by a heartbeat, and joins again in its next poll.
        assert proxy.wait_for("Heartbeat", proxy.seen("Heartbeat", "answered") + 2, stage="answered")
        return proxy.delay("TxnOffsetCommit", 0.7)

    joins: list[int] = []
    turns: list[Any] = []

    def note_joins(batch: Any) -> None:
        joins.append(proxy.seen("JoinGroup"))
        turns.append(batch)
        if len(turns) == 2:
            assert proxy.wait_for("EndTxn", len(copier.commits) + 1, stage="answered")
            another_comes()

    copier = Copier(prefix, note_joins)
    meter = Counts()
    run = Running(Cluster(proxy.bootstrap), settings(prefix), copier, meter)
    until(lambda: run.ended or (others and others[0].processor.assignments[-1:] not in ([], [[]])), "both to work")
    until(lambda: run.ended or is_exact(cluster, prefix), "the copy to be whole")
    assert run.failure is None
    assert len(copier.assignments) >= 2
    for each in (run, *others):
        each.stop()
    assert "aborted" not in meter.told
    assert is_exact(cluster, prefix)


def state_of(cluster: Cluster, group: str) -> str:
    with raw_admin(cluster) as admin:
        return str(admin.describe_groups([group])[group]["group_state"])


def test_two_turns_at_most_are_under_way(cluster: Cluster, proxy: Proxy, backlog: str) -> None:
    """K8: the answers to two turns are held in memory, however long a commit takes."""
    with overlapping(proxy, backlog, lambda: proxy.hold("TxnOffsetCommit")) as (run, _):
        run.processor.go_on.set()
        assert proxy.wait_for("Heartbeat", proxy.seen("Heartbeat") + 1)
        assert run.processor.turns == 3
        proxy.release()
        until(lambda: run.ended or place(cluster, backlog) == RECORDS, "the rest")
        run.stop()
    assert is_exact(cluster, backlog)


def test_a_second_commit_in_flight_would_be_a_defect_that_ends_the_loop(
    cluster: Cluster, proxy: Proxy, backlog: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wait before the next commit the class refuses, so that no two transactions can mix."""
    monkeypatch.setattr(Loop, "_land", lambda self: False)
    run = Running(cluster, settings(backlog), Copier(backlog))
    failure = run.wait()
    assert isinstance(failure, AssertionError)
    assert "one commit at a time" in str(failure)
