"""A processor that takes long over its assignment, as one that loads a snapshot does, keeps its place in the group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import pytest
from loop_helpers import Copier, Running, is_exact, make_topics, numbered, put, running, settings, until
from raw_kafka import raw_member

from consumers.loop.loop import Loop
from consumers.loop.processor import Assignment, Start
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.records import Partition


class Slow(Copier):
    """Takes a while over `assigned`, breathing."""

    seconds = 2.0
    begun = ended = turns = 0

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self.begun, self.turns = self.begun + 1, 0
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline or (self.seconds < 60 and self.turns < 3):
            assignment.breathe()
            time.sleep(0.01)
        self.ended += 1
        return super().assigned(assignment)


def test_it_is_polled_for_meanwhile_and_misses_nothing(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a group that has no place yet: a poll that looked for one would raise."""
    slow, turns = Slow(prefix), Loop._turns

    def counted(loop: Loop) -> bool:
        slow.turns += 1
        return turns(loop)

    monkeypatch.setattr(Loop, "_turns", counted)
    make_topics(cluster, prefix, 2)
    put(cluster, prefix + "in", numbered(0, 100), 2)
    with running(cluster, settings(prefix), slow) as run:
        until(lambda: sum(slow.counts.values()) == 100, "100 records")
        run.stop()
    assert is_exact(cluster, prefix)
    assert slow.begun == slow.ended == 1


def test_a_topic_that_is_another_by_its_id_is_taken_over_anew(
    cluster: Cluster, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    make = Loop._consumer
    monkeypatch.setattr(Loop, "_consumer", lambda loop: made.append(make(loop)) or made[0])
    make_topics(cluster, prefix)
    copier = Copier(prefix)
    with running(cluster, settings(prefix), copier) as run:
        until(lambda: copier.commits, "the loop to be at work")
        taken = len(copier.assignments)
        raw_member(made[0])._cluster._topic_ids[prefix + "in"] = uuid4()
        until(lambda: len(copier.assignments) > taken, "the processor to be asked again")
        run.stop()
    assert len(made) == 1, "the loop made its client again, and not its assignment"


def test_it_ends_in_the_midst_of_it_when_told_to(cluster: Cluster, prefix: str) -> None:
    make_topics(cluster, prefix)
    slow = Slow(prefix)
    slow.seconds = 600.0
    run = Running(cluster, settings(prefix), slow)
    until(lambda: slow.begun, "the assignment")
    run.stop()
    assert slow.ended == 0
