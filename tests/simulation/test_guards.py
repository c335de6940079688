"""Each guard is taken out in turn, and the schedules must find out: what no test misses is no guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import Phase
from simulation import machine, oracle
from simulation.world import NUMBERS, Clock, Fate, WatchedBackend, World

from consumers.joiner import recovery as takeover_module
from consumers.joiner.join import PartitionJoin
from consumers.joiner.joiner import Joiner
from consumers.joiner.recovery import JoinerTakeover
from consumers.learner import checkpoint_timer
from consumers.learner.active import ActiveLearner
from consumers.model.checkpoints import Log
from consumers.model.lanes import Lanes
from consumers.model.resume import Resumption
from model_store import AlreadyExists, Manifest, MemoryBackend
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Positions
from schemas.events import Lane

Patch = pytest.MonkeyPatch
SCHEDULES, SEEDS = 60, 10  # it is found out within a few dozen; at most so many, of so many seeds in turn


def _lane_sequence(patch: Patch) -> None:
    patch.setattr(Lanes, "admit", lambda self, lane, event_id: True)


def _remembered_ids(patch: Patch) -> None:
    admit = Lanes.admit

    def skips_what_came_before(self: Lanes, lane: Lane, event_id: str) -> bool:
        epoch, following = self.places().get(lane.name, (None, 0))
        return (epoch != lane.epoch or lane.sequence >= following) and admit(self, lane, event_id)

    patch.setattr(Lanes, "admit", skips_what_came_before)


def _topic_id_of_inputs(patch: Patch) -> None:
    patch.setattr(takeover_module, "short_ids", lambda *topic_ids: "any")


def _topic_id_of_the_log(patch: Patch) -> None:
    changes = Resumption._changes

    def of_any_topic(self: Resumption, newest: Manifest, log: Log) -> list[str]:
        return changes(self, newest, replace(log, topic_id=newest.topic_id))

    patch.setattr(Resumption, "_changes", of_any_topic)


def _local_store_after_the_commit(patch: Patch) -> None:
    process = Joiner.process

    def keeps_at_once(self: Joiner, batch: Batch) -> list[Output]:
        outputs = process(self, batch)
        self._store.commit()
        return outputs

    patch.setattr(Joiner, "process", keeps_at_once)


def _epoch_of_the_local_store(patch: Patch) -> None:
    unfit = JoinerTakeover._unfit

    def of_any_epoch(self: JoinerTakeover, local: Any, place: Any, *more: Any) -> str:
        # A lane begun anew has the ids of other topics, too, and has emitted less.
        own = msgspec.structs.replace(local.place, ids=place.ids, seq=0)
        return unfit(self, msgspec.structs.replace(local, epoch=place.epoch, place=own), place, *more)

    patch.setattr(JoinerTakeover, "_unfit", of_any_epoch)


def _counts_ride_in_the_metadata(patch: Patch) -> None:
    recovered = Joiner.recovered

    def counts_what_is_read_again(self: Joiner) -> None:
        counts = [dict(lane.join.state.counts) for lane in self._lanes.values()]
        recovered(self)
        for lane, counted in zip(self._lanes.values(), counts, strict=True):
            lane.join.state.counts = counted

    patch.setattr(Joiner, "recovered", counts_what_is_read_again)


def _pairwise_eviction(patch: Patch) -> None:
    def one_clock_for_both(self: PartitionJoin, time: int) -> None:
        self.state.predictions_clock = max(self.state.predictions_clock, time)
        self.state.labels_clock = max(self.state.labels_clock, time)

    patch.setattr(PartitionJoin, "_tick_predictions", one_clock_for_both)
    patch.setattr(PartitionJoin, "_tick_labels", one_clock_for_both)


def _what_stands_behind(patch: Patch) -> None:
    patch.setattr(PartitionJoin, "_next_use", lambda self, key, entry: None)


def _least_place(patch: Patch) -> None:
    places = ActiveLearner.places

    def forgets(self: ActiveLearner, read: Positions) -> Mapping[Any, CommittedOffset]:
        self._least_place = 0
        return places(self, read)

    patch.setattr(ActiveLearner, "places", forgets)


def _create_only(patch: Patch) -> None:
    put_new = MemoryBackend.put_new

    def overwrites(self: WatchedBackend, name: str, data: bytes) -> None:
        try:
            put_new(self, name, data)
        except AlreadyExists:
            self.delete(name)
            put_new(self, name, data)

    patch.setattr(MemoryBackend, "put_new", overwrites)


def _no_overlap(patch: Patch) -> None:
    """`committed` keeps the state as it is, and that is the state after a turn which may yet be dropped."""
    patch.setattr(Joiner, "overlaps", True)


LEARNED_OTHERWISE = ("learned more, or less", "learned others", "was not learned", "goes past a lane", "no complaint")
LOST = ("a pair is lost", "another state", "a pair is joined twice", "does not come to rest")
NOT_NOTICED = ("a topic made again was not noticed", "an epoch began that nobody asked for", *LEARNED_OTHERWISE)
# How it is taken out, a seed with which that is soon found out, and what is said then.
GUARDS: Mapping[str, tuple[Callable[[Patch], None], int, Sequence[str]]] = {
    "lane sequence": (_lane_sequence, 0, (*LEARNED_OTHERWISE, "a sound example was left out")),
    "topic id of predictions and labels": (_topic_id_of_inputs, 0, LOST),
    "topic id of the log": (_topic_id_of_the_log, 0, NOT_NOTICED),
    "local store after the commit": (_local_store_after_the_commit, 0, LOST),
    "counts ride in the metadata": (_counts_ride_in_the_metadata, 0, LOST),
    "pairwise eviction": (_pairwise_eviction, 2, LOST),
    "what stands behind a use": (_what_stands_behind, 2, LOST),
    "no overlap in the joiner": (_no_overlap, 0, LOST),
    "least place": (_least_place, 0, ("went back",)),
}


def _run(schedules: int, seed: int) -> None:
    machine.run(schedules, seed=seed, phases=(Phase.generate,), print_blob=False)


def _found_out(first_seed: int) -> str:
    for seed in range(first_seed, first_seed + SEEDS):
        try:
            _run(SCHEDULES, seed)
        except AssertionError as error:
            return str(error)
    return "nothing was noticed"


LONG_SCHEDULES = ("pairwise eviction", "topic id of the log")


@pytest.mark.parametrize(
    "guard", [pytest.param(guard, marks=[pytest.mark.full] * (guard in LONG_SCHEDULES)) for guard in GUARDS]
)
def test_without_a_guard_a_schedule_goes_red(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take_out, seed, says = GUARDS[guard]
    monkeypatch.setattr(machine.Schedule, "always_rough", True)
    take_out(monkeypatch)
    said = _found_out(seed)
    assert any(words in said for words in says), said


@pytest.mark.parametrize("seed", sorted({seed for _, seed, _ in GUARDS.values()}))
def test_with_all_guards_in_place_none_does(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.Schedule, "always_rough", True)
    _run(25, seed)


# --- guards that few schedules come to need: each has one of its own ----------------------------------


def _begin(world: World, events: int) -> None:
    world.turn("learner", 0)
    for _ in range(events):
        world.publish()
    for _ in range(2):
        world.turn("predictor", 0)


def _joined_again_in_another_order(world: World) -> None:
    """Kafka has forgotten the joiner's places and its disk is lost: it begins the same lane at 0."""
    _begin(world, 12)
    for pick in reversed(range(12)):
        world.label("right", pick)
    for take in ((9, 0), (9, 9), (9, 9)):  # first the predictions: the order is that of the labels
        world.turn("joiner", 0, take)
    world.turn("learner", 0, (5, 0))
    world.forget_places(disks_too=True)
    for take in ((0, 9), (9, 9), (9, 9)):  # first the labels: the order is that of the predictions
        world.turn("joiner", 0, take)


def _a_disk_of_another_lane_comes_back(world: World) -> None:
    _begin(world, 6)
    everything, nothing = NUMBERS, frozenset[int]()
    world.share("joiner", {0: nothing, 1: everything})
    for pick in range(6):
        world.label("right", pick)
    for _ in range(2):
        world.turn("joiner", 1)
        world.wait(1100)  # a disk is not written at once
    world.share("joiner", {0: everything, 1: nothing})
    world.remake("labels", with_places=False)
    for _ in range(20):
        world.label("for no event")
        world.wait(1)
    for _ in range(4):
        world.turn("joiner", 0)
    world.share("joiner", {0: nothing, 1: everything})
    for pick in range(6):
        world.label("right", pick)
    world.turn("joiner", 1)


def _who_slept_with_a_version_in_hand_writes_it(world: World) -> None:
    """Meanwhile another has learned the same examples, and announced its version of the same name."""
    _begin(world, 6)
    for pick in range(6):
        world.label("right", pick)
    for _ in range(2):
        world.turn("joiner", 0)
    world.wait(1100)
    world.turn("learner", 0, (9, 0), Fate("sleep", "before versions"))


SCRIPTS: Mapping[str, tuple[Callable[[Patch], None], Callable[[World], None], Sequence[str]]] = {
    "remembered ids": (_remembered_ids, _joined_again_in_another_order, LEARNED_OTHERWISE),
    "epoch of the local store": (_epoch_of_the_local_store, _a_disk_of_another_lane_comes_back, LOST),
    "create-only versions": (_create_only, _who_slept_with_a_version_in_hand_writes_it, ("announced as another",)),
}


@pytest.mark.parametrize("guard", SCRIPTS)
def test_without_a_guard_its_own_schedule_goes_red(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take_out, script, says = SCRIPTS[guard]
    for out in (False, True):
        if out:
            take_out(monkeypatch)
        world = World()
        monkeypatch.setattr(checkpoint_timer, "time", Clock(world.clock))
        said = ""
        try:
            script(world)
            world.settle()
            oracle.check(world)
        except AssertionError as error:
            said = str(error)
        assert any(words in said for words in says) if out else not said, said
