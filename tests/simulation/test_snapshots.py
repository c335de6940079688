"""A joiner that loses its disk goes on from a snapshot, exactly; one that does not fit is said and passed over."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from simulation.joining import (
    GROUP,
    NAMES,
    PARTITIONS,
    WAIT,
    assert_lanes_have_no_gaps,
    examples,
    label,
    make_log,
    make_settings,
    predict,
    rules,
)
from simulation.log import Crash, SimulatedLoop
from simulation.seeds import seeds

import consumers.joiner.joiner as joiner_module
from consumers.joiner.joiner import Joiner
from consumers.joiner.local_store import LocalStore, MemoryStore
from consumers.joiner.snapshot_thread import SnapshotKeeper
from consumers.joiner.snapshots import Snapshots
from model_store import MemoryBackend
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from schemas import codec

BOTH = {NAMES.topic("predictions"): 3, NAMES.topic("labels"): 3}


@pytest.fixture(autouse=True)
def _kept_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner_module, "_KEEP_EVERY_MS", 0)


class Sometimes(SnapshotKeeper):
    """Makes a snapshot when asked to, of the commits that `wanted` picks."""

    def __init__(self, backend: MemoryBackend, say: Callable[[str], None], wanted: Callable[[], bool]) -> None:
        super().__init__(Snapshots(backend, "sim"), 0.0, say, beside=False)
        self._wanted = wanted

    def offer(self, store: LocalStore, numbers: Sequence[int]) -> None:
        if self._wanted():
            self._cost = 0.0  # due whatever the last one took
            super().offer(store, numbers)


class Dying(MemoryBackend):
    """Dies in the midst of a snapshot, as often as `dies` says."""

    def __init__(self, dies: Callable[[], bool]) -> None:
        super().__init__()
        self._dies = dies

    def put_new(self, name: str, data: bytes) -> None:
        if self._dies():
            raise Crash(name)
        super().put_new(name, data)


class World:
    """A log, a disk, a place for snapshots, and what the joiners said."""

    def __init__(
        self,
        backend: MemoryBackend | None = None,
        wanted: Callable[[], bool] = lambda: True,
        dies: Callable[[str], bool] = lambda place: False,
    ) -> None:
        self.log, self.disk = make_log(), MemoryStore()
        self.backend = backend or MemoryBackend()
        self.wanted, self.dies = wanted, dies
        self.said: list[str] = []

    def joiner(self, **changes: object) -> Joiner:
        settings = make_settings(rules(**changes), max_pending=1000)
        keeper = Sometimes(self.backend, self.said.append, self.wanted)
        return Joiner(settings, self.disk, keeper, self.said.append)

    def drain(self, **changes: object) -> None:
        """Read all there is, starting anew after every crash."""
        while True:
            try:
                loop = SimulatedLoop(self.log, GROUP, self.joiner(**changes), self.dies)
                while not loop.idle():
                    loop.step(BOTH)
                return
            except Crash:
                self.disk.rollback()

    def lose_disk(self) -> None:
        self.disk = MemoryStore()

    def heard(self, what: str) -> int:
        return sum(what in line for line in self.said)


@pytest.mark.parametrize("seed", seeds(20, 60))
def test_lost_disks_and_crashes_in_and_out_of_snapshots_neither_lose_nor_repeat(seed: int) -> None:
    rng = random.Random(seed)
    world = World(Dying(lambda: rng.random() < 0.02), lambda: rng.random() < 0.3, lambda place: rng.random() < 0.05)
    waiting: list[str] = []
    for number in range(150):
        world.log.now += rng.randrange(0, 60)
        predict(world.log, f"e{number}")
        waiting.append(f"e{number}")
        while waiting and rng.random() < 0.45:
            label(world.log, waiting.pop(rng.randrange(len(waiting))))
        if rng.random() < 0.2:
            world.drain()
        if rng.random() < 0.1:
            world.lose_disk()
    for event_id in waiting:
        label(world.log, event_id)
    world.drain()
    got = Counter(example.event.event_id for example in examples(world.log))
    assert got == Counter({f"e{number}": 1 for number in range(150)})
    assert_lanes_have_no_gaps(world.log)
    assert world.heard("goes on from snapshot") > 0


@pytest.mark.parametrize("seed", range(20))
def test_timeouts_are_learned_once_when_snapshots_stand_in_for_disks(seed: int) -> None:
    rng = random.Random(seed)
    world = World(wanted=lambda: rng.random() < 0.3, dies=lambda place: rng.random() < 0.03)
    for number in range(80):
        world.log.now += rng.randrange(0, 600)
        predict(world.log, f"e{number}")
        if rng.random() < 0.3:
            label(world.log, f"e{rng.randrange(number + 1)}")
        if rng.random() < 0.2:
            world.drain(on_timeout=False)
        if rng.random() < 0.15:
            world.lose_disk()
    world.log.now += 5 * WAIT
    for partition in range(PARTITIONS):
        world.log.append(Output(NAMES.topic("labels"), partition, None, codec.TICK.encode({"written_by": "test"})))
    world.drain(on_timeout=False)
    got = Counter(example.event.event_id for example in examples(world.log))
    assert got == Counter({f"e{number}": 1 for number in range(80)})


def pending(world: World, count: int = 40) -> None:
    """Have so many predictions read, and more after the snapshot of them."""
    for number in range(count):
        predict(world.log, f"e{number}")
    world.drain()


def labelled(world: World, count: int = 40) -> None:
    """Lose the disk, label all that waits, and see each joined once."""
    world.lose_disk()
    for number in range(count):
        label(world.log, f"e{number}")
    world.drain()
    got = Counter(example.event.event_id for example in examples(world.log))
    assert got == Counter({f"e{number}": 1 for number in range(count)})
    assert_lanes_have_no_gaps(world.log)


def test_what_waits_in_a_snapshot_needs_no_topic_to_be_read_again() -> None:
    """Its records are gone from the log: only the snapshot knows them."""
    world = World()
    pending(world)
    taken = len(world.log.read(NAMES.topic("predictions")))
    assert taken == 40
    read: list[int] = []
    original = Joiner.recover

    def counted(joiner: Joiner, batch: object) -> None:
        read.append(1)
        original(joiner, batch)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Joiner, "recover", counted)
        labelled(world)
    assert not read
    assert world.heard("goes on from snapshot") == PARTITIONS


def test_a_snapshot_ahead_of_what_is_committed_is_passed_over() -> None:
    world = World()
    for number in range(20):
        predict(world.log, f"e{number}")
    world.wanted = lambda: False
    world.drain()
    places = dict(world.log.places)
    for number in range(20, 40):
        predict(world.log, f"e{number}")
    world.wanted = lambda: True
    world.drain()
    world.log.places = places  # the cluster was put back to an earlier state
    labelled(world)
    assert world.heard("ahead of the committed") >= PARTITIONS
    assert world.heard("is read from the topics again") == PARTITIONS


def test_a_snapshot_of_a_topic_that_was_made_again_is_passed_over() -> None:
    world = World()
    pending(world)
    again = World(world.backend)
    again.log.ids = dict.fromkeys(again.log.ids, "another")
    pending(again, 20)
    world.backend = again.backend
    again.wanted = lambda: False
    # The newest two are of the new topics; put the old one's back as the newest.
    for name in again.backend.names("sim/joiner"):
        again.backend.delete(name)
    old = World(again.backend)
    pending(old)
    labelled(again, 20)
    assert again.heard("is passed over: it is of other topics") >= PARTITIONS
    assert again.heard("is read from the topics again") == PARTITIONS


def test_a_snapshot_of_another_group_is_passed_over() -> None:
    world = World()
    pending(world)
    for number in range(PARTITIONS):
        for topic in BOTH:
            place = world.log.places[GROUP, Partition(topic, number)]
            world.log.places[GROUP + "2", Partition(topic, number)] = CommittedOffset(place.offset, place.metadata)
    joiner = world.joiner()
    joiner._takeover.__dict__["group"] = GROUP + "2"
    world.lose_disk()
    SimulatedLoop(world.log, GROUP + "2", joiner)
    assert world.heard(f"it is of group {GROUP}") >= PARTITIONS


def damage(backend: MemoryBackend, name: str, how: Callable[[bytes], bytes]) -> None:
    data = backend.get(name, 1 << 30)
    backend.delete(name)
    backend.put_new(name, how(data))


def newest(world: World, number: int) -> dict[str, str]:
    """Return the names of the newest snapshot's manifest and first data object."""
    [*_, manifest] = [name for name in world.backend.names(f"sim/joiner/{number}") if name.endswith(".json")]
    return {"manifest": manifest, "data": manifest.removesuffix(".json") + "/000000"}


@pytest.mark.parametrize("what", ["manifest", "data"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_snapshot_cut_short_at_any_length_gives_way_to_the_one_before_it(what: str, part: float) -> None:
    world = World()
    pending(world)
    world.log.now += 10
    for number in range(40, 60):
        predict(world.log, f"e{number}")
    world.drain()
    for number in range(PARTITIONS):
        damage(world.backend, newest(world, number)[what], lambda data: data[: int(len(data) * part)])
    labelled(world, 60)
    assert world.heard("is passed over") == PARTITIONS
    assert world.heard("goes on from snapshot") == PARTITIONS


@pytest.mark.parametrize("what", ["manifest", "data"])
@pytest.mark.parametrize("seed", range(10))
def test_a_flipped_bit_in_every_snapshot_leaves_the_topics_to_read(what: str, seed: int) -> None:
    rng = random.Random(seed)
    world = World()
    pending(world)

    def flip(data: bytes) -> bytes:
        at = rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]

    for name in world.backend.names("sim/joiner"):
        if name.endswith(".json") == (what == "manifest"):
            damage(world.backend, name, flip)
    labelled(world)
    assert world.heard("is read from the topics again") == PARTITIONS


def test_data_that_is_missing_is_said_and_the_topics_are_read() -> None:
    world = World()
    pending(world)
    for name in world.backend.names("sim/joiner"):
        if not name.endswith(".json"):
            world.backend.delete(name)
    labelled(world)
    assert world.heard("is not in the store") > 0
    assert world.heard("is read from the topics again") == PARTITIONS


def test_two_snapshots_are_kept_and_nothing_of_those_before() -> None:
    world = World()
    for number in range(30):
        predict(world.log, f"e{number}")
        world.drain()
    for number in range(PARTITIONS):
        names = world.backend.names(f"sim/joiner/{number}")
        ids = {name.split("/")[3].removesuffix(".json") for name in names}
        assert len(ids) == 2
        assert len([name for name in names if name.endswith(".json")]) == 2


def test_a_joiner_whose_store_is_at_hand_reads_no_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    pending(world)
    monkeypatch.setattr(Snapshots, "newest_first", lambda *given: pytest.fail("a snapshot was looked for"))
    assert not SimulatedLoop(world.log, GROUP, world.joiner())._log.read(NAMES.topic("examples"))


def test_a_timely_label_is_kept_whatever_many_old_ones_wait_for_their_end() -> None:
    """In a rebuild the labels may all be read before the predictions: those of old uses are over, and wait."""
    world = World()
    for _ in range(16):
        label(world.log, "again")
    world.log.now += 5 * WAIT
    label(world.log, "again", value=False)
    predict(world.log, "again")
    loop = SimulatedLoop(world.log, GROUP, world.joiner())
    for _ in range(8):
        loop.step({NAMES.topic("labels"): 3})
    while not loop.idle():
        loop.step(BOTH)
    assert [(e.event.event_id, e.label.value) for e in examples(world.log) if e.label] == [("again", False)]
