"""Labels from topics of others: exactly once whatever dies, and the word that stands in whatever order they come."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from simulation.joining import NAMES, PARTITIONS, drain, examples, predict
from simulation.log import Crash, MemoryLog, SimulatedLoop
from simulation.seeds import seeds

from consumers.intake.intake import Intake, IntakeSettings
from consumers.intake.offset_metadata import IntakeMetadata
from consumers.joiner.local_store import MemoryStore
from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import LogRefused
from runtime.exits import RoleRefused
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from schemas.dead_letters import read_dead_letter
from schemas.events import Label, read_label
from schemas.sources.decoding import decoder
from schemas.sources.label_mapping import LabelMapping
from schemas.sources.source import Source
from schemas.target import Target
from schemas.topics import partition_of

GROUP = NAMES.group("intake")
SYSTEM = Source(topic="chargebacks", id="ref", value="status == 'fraud'", weight="weight")
LATE = Source(topic="chargebacks", id="ref", value="True", start="end")
HUMAN = Source(topic="reviews", id=["case"], value="verdict", source="human", wins=True)


def make_log() -> MemoryLog:
    own = {NAMES.topic(kind): PARTITIONS for kind in ("predictions", "labels")}
    ours = {NAMES.topic(kind): 1 for kind in ("examples", "dead-letters")}
    return MemoryLog({**own, **ours, "chargebacks": 3, "reviews": 2})


def make(sources: Sequence[Source] = (SYSTEM, HUMAN), memory: TopicMemory | None = None, go_on: bool = False) -> Intake:
    settings = IntakeSettings(NAMES, Target(task="binary"), PARTITIONS, go_on)
    mappings = [LabelMapping(source, decoder(source)) for source in sources]
    return Intake(settings, mappings, clock=lambda: 7, say=lambda line: None, memory=memory)


def send(log: MemoryLog, topic: str, message: Any, partition: int = 0) -> None:
    value = message if isinstance(message, bytes | None) else json.dumps(message).encode()
    log.append(Output(topic, partition, b"keyed by somebody else", value))


def take_in(log: MemoryLog, crash: Callable[[str], bool] = lambda place: False, **changes: Any) -> Intake:
    """Run until all is read, starting anew after every crash."""
    while True:
        intake = make(**changes)
        try:
            loop = SimulatedLoop(log, GROUP, intake, crash)
            while not loop.idle():
                loop.step({"chargebacks": 3, "reviews": 2})
            loop.end()
            return intake
        except Crash:
            continue


def labels(log: MemoryLog) -> list[Label]:
    found = log.read(NAMES.topic("labels"))
    read = [read_label(record.value or b"") for record in found]
    assert [record.partition for record in found] == [partition_of(label.event_id, PARTITIONS) for label in read]
    assert [record.key for record in found] == [label.event_id.encode() for label in read]
    return read


def counts(log: MemoryLog, topic: str) -> tuple[int, int, int]:
    notes = [
        msgspec.json.decode(place.metadata, type=IntakeMetadata)
        for (group, at), place in log.places.items()
        if group == GROUP and at.topic == topic
    ]
    return sum(n.mapped for n in notes), sum(n.skipped for n in notes), sum(n.refused for n in notes)


def test_messages_become_labels_of_their_events() -> None:
    log = make_log()
    send(log, "chargebacks", {"ref": 17, "status": "fraud", "weight": 4}, partition=2)
    send(log, "reviews", {"case": "e1", "verdict": False})
    take_in(log)
    at = 1_000_000
    assert sorted(labels(log), key=lambda label: label.event_id) == [
        Label("17", True, at, 4.0),
        Label("e1", False, at, source="human", kind="correction"),
    ]


def test_each_message_is_counted_once_and_what_is_refused_is_kept_as_it_was() -> None:
    log = make_log()
    for message in ({"ref": "a", "status": "ok"}, {"ref": "b"}, {"status": "fraud"}, b"\x01\x02", None):
        send(log, "chargebacks", message)
    send(log, "reviews", {"case": "c", "verdict": "maybe"}, partition=1)
    take_in(log)
    assert counts(log, "chargebacks") == (1, 2, 2)
    assert counts(log, "reviews") == (0, 0, 1)
    letters = [read_dead_letter(record.value or b"") for record in log.read(NAMES.topic("dead-letters"))]
    assert {(each.topic, each.partition, each.offset, each.stage, each.code) for each in letters} == {
        ("chargebacks", 0, 2, "intake", "id"),
        ("chargebacks", 0, 3, "intake", "codec"),
        ("reviews", 1, 0, "intake", "label"),
    }
    assert all(each.key == b"keyed by somebody else" for each in letters)


def test_of_one_topic_several_sources_read_each_message() -> None:
    log = make_log()
    by_hand = Source(topic="chargebacks", id="ref", value="reviewed", source="human", wins=True)
    send(log, "chargebacks", {"ref": "a", "status": "ok", "reviewed": True})
    send(log, "chargebacks", {"ref": "b", "status": "ok"})
    take_in(log, sources=(SYSTEM, by_hand))
    assert sorted((each.event_id, each.source, each.value) for each in labels(log)) == [
        ("a", "human", True),
        ("a", "system", False),
        ("b", "system", False),
    ]
    assert counts(log, "chargebacks") == (2, 0, 0)


@pytest.mark.parametrize("seed", seeds(10, 40))
def test_crashes_neither_lose_nor_repeat_a_label(seed: int) -> None:
    rng = random.Random(seed)
    log = make_log()
    for number in range(60):
        send(log, "chargebacks", {"ref": f"e{number}", "status": "fraud"}, rng.randrange(3))
        if number % 3 == 0:
            send(log, "reviews", {"case": f"e{number}", "verdict": True}, rng.randrange(2))
        if number % 7 == 0:
            send(log, "chargebacks", b"no JSON", rng.randrange(3))
        if number % 10 == 0:
            take_in(log, lambda place: rng.random() < 0.1)
    take_in(log, lambda place: rng.random() < 0.1)
    assert Counter((each.event_id, each.source) for each in labels(log)) == {
        **{(f"e{number}", "system"): 1 for number in range(60)},
        **{(f"e{number}", "human"): 1 for number in range(0, 60, 3)},
    }
    assert counts(log, "chargebacks") == (60, 0, 9)
    assert len(log.read(NAMES.topic("dead-letters"))) == 9


def test_two_processes_share_the_partitions() -> None:
    log = make_log()
    for number in range(30):
        send(log, "chargebacks", {"ref": f"e{number}", "status": "ok"}, number % 3)
    loops = [SimulatedLoop(log, GROUP, make(), share=share) for share in ((0, 2), (1,))]
    while not all(loop.idle() for loop in loops):
        for loop in loops:
            loop.step({"chargebacks": 2, "reviews": 2})
    assert sorted(each.event_id for each in labels(log)) == sorted(f"e{number}" for number in range(30))


# --- where it begins -------------------------------------------------------------------------------


def test_a_source_from_the_end_leaves_out_what_was_there_and_nothing_after() -> None:
    log, memory = make_log(), TopicMemory()
    send(log, "chargebacks", {"ref": "before"})
    take_in(log, sources=(LATE,), memory=memory)
    send(log, "chargebacks", {"ref": "after"})
    log.records[Partition("chargebacks", 3)] = []  # a partition that the topic has got meanwhile
    send(log, "chargebacks", {"ref": "on a new partition"}, 3)
    take_in(log, sources=(LATE,), memory=memory)
    assert sorted(each.event_id for each in labels(log)) == ["after", "on a new partition"]


def a_member(log: MemoryLog, *share: int) -> SimulatedLoop:
    """Return one on a machine that has seen nothing yet, once it has taken its partitions over and committed that."""
    loop = SimulatedLoop(log, GROUP, make((LATE,)), share=share)
    loop.step({})
    return loop


def test_a_partition_that_was_added_is_begun_at_its_beginning_by_whoever_gets_it() -> None:
    log = make_log()
    send(log, "chargebacks", {"ref": "before"})
    a_member(log, 0, 1, 2)
    log.records[Partition("chargebacks", 3)] = []
    send(log, "chargebacks", {"ref": "on a new partition"}, 3)
    a_member(log, 3).step({"chargebacks": 9})
    assert [each.event_id for each in labels(log)] == ["on a new partition"]


def test_who_joins_a_group_that_has_only_just_begun_begins_at_the_end_too() -> None:
    """Members start together: that one has committed before the other has asked is no reason to read years again."""
    log = make_log()
    for partition in range(3):
        send(log, "chargebacks", {"ref": f"before {partition}"}, partition)
    for member in (a_member(log, 0), a_member(log, 1), a_member(log, 2)):
        send(log, "chargebacks", {"ref": "after"}, 2)
        member.step({"chargebacks": 9})
    assert [each.event_id for each in labels(log)] == ["after"] * 3
    log.records[Partition("chargebacks", 3)] = []
    send(log, "chargebacks", {"ref": "on a new partition"}, 3)
    a_member(log, 3).step({"chargebacks": 9})
    assert [each.event_id for each in labels(log)][3:] == ["on a new partition"]


def test_a_topic_that_was_made_again_stops_it_until_it_is_told_to_go_on() -> None:
    log, memory = make_log(), TopicMemory()
    send(log, "chargebacks", {"ref": "a", "status": "ok"})
    take_in(log, memory=memory)
    for with_places in (False, True):
        log.recreate("chargebacks", with_places)
        send(log, "chargebacks", {"ref": f"b{with_places}", "status": "ok"})
        with pytest.raises(LogRefused, match="intake STREAM --new-epoch fresh"):
            take_in(log, memory=memory)
        take_in(log, memory=memory, go_on=True)
    assert sorted(each.event_id for each in labels(log)) == ["a", "bFalse", "bTrue"]


def test_places_that_kafka_has_forgotten_stop_it_and_it_goes_on_where_it_was() -> None:
    log, memory = make_log(), TopicMemory()
    send(log, "chargebacks", {"ref": "a", "status": "ok"})
    take_in(log, memory=memory)
    log.places.clear()
    send(log, "chargebacks", {"ref": "b", "status": "ok"})
    with pytest.raises(LogRefused, match="everything would be taken in again"):
        take_in(log, memory=memory)
    take_in(log, memory=memory, go_on=True)
    assert sorted(each.event_id for each in labels(log)) == ["a", "b"]


def test_what_was_gone_before_it_was_read_stops_it() -> None:
    log = make_log()
    log.places[GROUP, Partition("reviews", 0)] = CommittedOffset(5, "")
    with pytest.raises(LogRefused, match="was truncated"):
        take_in(log)


@pytest.mark.parametrize("kind", ["labels", "dead-letters", "predictions"])
def test_a_topic_of_the_streams_own_is_no_source(kind: str) -> None:
    """It would read what it writes, for ever."""
    with pytest.raises(RoleRefused, match="the stream's own topic"):
        make((Source(topic=NAMES.topic(kind), id="event_id", value="value"),))


# --- which word stands -----------------------------------------------------------------------------

STEPS = ("predict", "system", "human", "system again")


@pytest.mark.parametrize("order", sorted(set(itertools.permutations(STEPS))), ids=" ".join)
@pytest.mark.parametrize("apart", [True, False], ids=["one by one", "at once"])
def test_a_source_that_wins_is_believed_in_whatever_order(order: Sequence[str], apart: bool) -> None:
    """The system says no, a person yes: the last word on the log is yes, and never a no after it."""
    log, store = make_log(), MemoryStore()
    for step in order:
        log.now += 10
        if step == "predict":
            predict(log, "e")
        elif step == "human":
            send(log, "reviews", {"case": "e", "verdict": True})
        else:
            send(log, "chargebacks", {"ref": "e", "status": "ok"})
        if apart:
            take_in(log)
            drain(log, store)
    take_in(log)
    drain(log, store)
    said = [(each.label.value, each.label.kind) for each in examples(log) if each.label]
    assert said[-1][0] is True
    assert said in ([(True, "label")], [(False, "label"), (True, "correction")])


def test_of_two_sources_that_win_the_later_one_is_believed() -> None:
    log, store = make_log(), MemoryStore()
    predict(log, "e")
    for verdict in (True, False):
        log.now += 10
        send(log, "reviews", {"case": "e", "verdict": verdict})
        take_in(log)
    drain(log, store)
    assert [(each.label.value, each.label.kind) for each in examples(log) if each.label] == [
        (True, "label"),
        (False, "correction"),
    ]
