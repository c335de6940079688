"""A worse model that is right where labels are quick, on a real Kafka: the rule does not promote it.

Each event is answered by two models that repeat a feature. For a quarter of the events, whose labels come at once, the
challenger is better; for the others it is worse. By the comparisons so far, without `settle`, it would be promoted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from faults.rig import Rig
from faults.shadow_oracle import announced, comparisons
from faults.test_compared_kills import promotions
from raw_kafka import raw_producer
from system.commands import told

from consumers.referee.contest import Champion, Contest
from consumers.referee.losses import Loss
from consumers.referee.rule import Rule
from millstream.processes.fork_server import ForkServer
from millstream.stream.load import load_stream
from millstream.stream.promotion_rule import promotion_rule
from schemas.comparisons import Comparison
from schemas.events import Event, Label
from schemas.topics import partition_of

EVENTS: Final = 400
ERRORS: Final = {True: {"a": 0.6, "b": 0.1}, False: {"a": 0.2, "b": 0.5}}  # by whether the label is quick
FILE: Final = """
from river import base

from millstream import Checkpoints, Labels, Model, Promote, Stream


class Repeats(base.Classifier):
    def __init__(self, feature: str) -> None:
        self.feature = feature

    def learn_one(self, x, y):
        pass

    def predict_proba_one(self, x):
        return {True: x[self.feature], False: 1.0 - x[self.feature]}


stream = Stream(
    name="hasty",
    task="binary",
    model=lambda: Repeats("a"),
    models={"b": Model(lambda: Repeats("b"))},
    label="label",
    features={"a": "number", "b": "number"},
    promote=Promote(loss="error", settle="5s", labels=50),
    labels=Labels(wait="1h"),
    checkpoints=Checkpoints(every="300ms"),
    partitions=2,
)
"""


@pytest.fixture
def rig(bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer) -> Iterator[Rig]:
    file = tmp_path / "hasty.py"
    file.write_text(FILE)
    with Rig(bootstrap, prefix, tmp_path, fork_server, ref=file) as rig:
        for role in ("predictor", "joiner", "learner", "learner.b", "shadow", "judge", "referee"):
            rig.start(role)
        rig.until(lambda: all("ready: " in each.said() for each in rig.members.values()), "all to be at work")
        rig.until(lambda: announced(rig.stream).keys() == {"hasty", "hasty.b"}, "a version of each")
        yield rig


class Sender:
    """Sends events with known answers, and their labels when it is told to."""

    def __init__(self, rig: Rig, producer: Any) -> None:
        self._rig, self._producer, self._random = rig, producer, random.Random(4)
        self.truths: dict[str, bool] = {}

    def event(self) -> str:
        number = len(self.truths)
        event_id, truth = f"e{number}", self._random.random() < 0.5
        self.truths[event_id] = truth
        wrong = {name: self._random.random() < share for name, share in ERRORS[is_quick(event_id)].items()}
        self._put("features", event_id, Event(event_id, number, {each: float(truth != wrong[each]) for each in wrong}))
        return event_id

    def label(self, event_id: str) -> None:
        self._put("labels", event_id, Label(event_id, self.truths[event_id], 0))

    def compared(self, count: int) -> None:
        """Wait until so many events are compared."""
        self._producer.flush(20)
        self._rig.until(lambda: self._rig.counted["comparisons"] >= count, f"{count} comparisons")

    def _put(self, kind: str, event_id: str, value: Any) -> None:
        topic, partition = self._rig.names.topic(kind), partition_of(event_id, 2)
        self._producer.send(topic, value.encode(), event_id.encode(), partition=partition)


def is_quick(event_id: str) -> bool:
    return int(event_id[1:]) % 4 == 0


def winner(found: list[Comparison], rule: Rule) -> str | None:
    """Return what a rule would promote by these comparisons."""
    contest = Contest(rule, Champion("hasty"), Loss(rule.loss), {})
    for at, comparison in enumerate(found):
        contest.take(at, comparison)
    return contest.winner


@pytest.mark.full
def test_a_model_that_is_better_on_quick_labels_and_worse_on_all_is_not_promoted(rig: Rig) -> None:
    rule = promotion_rule(load_stream(rig.stream.ref).stream)
    assert rule is not None
    with closing(raw_producer(rig.cluster)) as producer:
        sender = Sender(rig, producer)
        several = [sender.event() for _ in range(EVENTS)]
        producer.flush(20)
        rig.until(lambda: rig.counted["predictions"] >= EVENTS, "all to be answered")
        quick = [each for each in several if is_quick(each)]
        for each in quick:
            sender.label(each)
        sender.compared(len(quick))
        assert winner(comparisons(rig.stream), replace(rule, settle_ms=0)) == "hasty.b"
        for each in several:
            if not is_quick(each):
                sender.label(each)
        sender.compared(EVENTS)

        def settled() -> bool:
            """Let the labels' clock go on, and say whether all of the first events count."""
            sender.label(sender.event())
            standings = told(rig.stream, "status", rig.stream.ref)["contest"]["standings"]
            return any(each["labels"] >= EVENTS for each in standings)

        rig.until(settled, "the events to settle")
    assert promotions(rig) == []
    [standing] = told(rig.stream, "status", rig.stream.ref)["contest"]["standings"]
    assert standing["high"] < 0.1
    assert standing["mean"] < 0
