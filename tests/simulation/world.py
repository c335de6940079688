"""Everything a stream is made of, in memory: three groups of real processors over one log, and what goes wrong.

A process dies where its `Fate` says so, between any two effects; or it falls asleep there, another takes its
partitions over and works, and then it wakes up and goes on as if nothing had been.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from river import linear_model, naive_bayes, neighbors
from simulation.log import Crash, FencedOff, MemoryLog, Overlap, SimulatedLoop

from consumers.joiner.join import JoinRules
from consumers.joiner.joiner import Joiner, JoinerSettings
from consumers.joiner.local_store import MemoryStore
from consumers.learner.checkpoint_timer import CheckpointPace
from consumers.learner.learner import Learner, LearnerSettings
from consumers.loop.processor import Processor
from consumers.model.checkpoints import Definition, LearnerCheckpoints
from consumers.model.model_state import LearningRules
from consumers.model.river_model import wrap
from consumers.predictor.model_feed import PauseSwitch
from consumers.predictor.predictor import Predictor, PredictorSettings, ServedVersion
from model_store import MemoryBackend, ModelStore, Retention, Signer, StoreUnavailable, Trust, VersionId
from runtime.exits import Doubt, RoleRefused
from runtime.kafka_client.records import Output
from schemas import codec
from schemas.contract import Contract
from schemas.events import Event, Example, Features, Label, Lane
from schemas.model_updates import Published, read_model_update
from schemas.target import Target
from schemas.topics import Names, partition_of

NAMES: Final = Names("sim")
PARTITIONS: Final = 2  # of each topic when the stream begins
NUMBERS: Final = frozenset(range(5))  # of partitions that there may come to be
WAIT: Final = 10_000
TARGET: Final = Target(task="binary")
ROLES: Final = ("predictor", "joiner", "learner")
TOPIC: Final = {kind: NAMES.topic(kind) for kind in ("features", "predictions", "labels", "examples", "models")}
MODELS: Final[Mapping[str, Callable[[], Any]]] = {
    "logistic regression": linear_model.LogisticRegression,
    "GaussianNB": naive_bayes.GaussianNB,
    "KNN": lambda: neighbors.KNNClassifier(n_neighbors=3, engine=neighbors.LazySearch(window_size=30)),
}
PLACES: Final[Mapping[str, Sequence[str]]] = {
    "predictor": ("polled", "processed", "before the commit", "committed"),
    "joiner": (
        "recovering",
        "polled",
        "processed",
        "before the commit",
        "between the log's commit and the local one",
        "committed",
    ),
    "learner": (
        "polled",
        "processed",
        "before objects",
        "after objects",
        "before versions",
        "after versions",
        "before the commit",
        "committed",
    ),
}
_SIGNER: Final = Signer(Ed25519PrivateKey.generate())
_MOST_LABELS_AN_ID: Final = 8  # more than 16 that wait at once are not kept


class Fate(NamedTuple):
    """What becomes of a process in this turn, and where: it goes on, dies, or sleeps while others work."""

    what: str = "go on"
    place: str = ""


GO_ON: Final = Fate()


class Clock:
    """Stands for the module `time` in the learner: the simulated clock, shifted as its machine's is."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now

    def monotonic(self) -> float:
        return self._now() / 1000

    def time_ns(self) -> int:
        return self._now() * 1_000_000

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class WatchedBackend(MemoryBackend):
    """Tells before and after each effect, and is full when told so."""

    def __init__(self, reached: Callable[[str], bool]) -> None:
        super().__init__()
        self._reached = reached
        self.full = 0

    def put_new(self, name: str, data: bytes) -> None:
        kind = name.split("/")[1]
        self._pass(f"before {kind}")
        if self.full:
            self.full -= 1
            raise StoreUnavailable("no space left on device")
        super().put_new(name, data)
        self._pass(f"after {kind}")

    def _pass(self, place: str) -> None:
        if self._reached(place):
            raise Crash(place)


class Switch(PauseSwitch):
    """The learner's `Control`: nothing is decided but pauses."""

    paused = False

    def is_paused(self) -> bool:
        return self.paused


@dataclass
class Group:
    """Two processes of one role, and which partitions each has."""

    role: str
    loops: list[SimulatedLoop | None] = field(default_factory=lambda: [None, None])
    shares: list[frozenset[int]] = field(default_factory=lambda: [NUMBERS, frozenset()])


class World:
    """One stream.

    Attributes
    ----------
    tally
        What has gone wrong, and how often.
    stopped
        Why the learner refuses to go on, if it does.
    handed
        Examples as joiners committed them, whatever the broker made of them.
    """

    def __init__(
        self, model: str = "logistic regression", on_timeout: bool | None = None, overlap: Overlap = "never"
    ) -> None:
        self.overlap: Overlap = overlap
        self.log = MemoryLog(
            {TOPIC["features"]: PARTITIONS, TOPIC["predictions"]: PARTITIONS, TOPIC["labels"]: PARTITIONS}
            | {TOPIC["examples"]: 1, TOPIC["models"]: 1, NAMES.topic("dead-letters"): 1, NAMES.topic("alerts"): 1}
        )
        self.rules = JoinRules(TARGET, WAIT, WAIT // 2, on_timeout)
        # Texts KNN learns without a word, and answers nothing any more: what is to be done then is not asked here.
        self.can_be_poisoned = model != "KNN"
        self.learning = LearningRules(TARGET, Contract(), MODELS[model], None, window=50)
        self.backend = WatchedBackend(self._reached)
        self.store = ModelStore(self.backend, Trust.of(_SIGNER.public), _SIGNER)
        self.checkpoints = LearnerCheckpoints(
            self.store, Definition("sim", "d", "c"), self.learning, Retention(last=10_000)
        )
        self.disks = [MemoryStore(), MemoryStore()]
        self.groups = {role: Group(role) for role in ROLES}
        self.control = Switch("sim")
        self.tally: Counter[str] = Counter()
        self.stopped = ""
        self.said: list[str] = []
        self.skew = 0
        self.handed: list[Output] = []
        self.labels_of: Counter[str] = Counter()
        self.truths: dict[str, bool] = {}
        self.early: list[str] = []
        self.remade: set[str] = set()
        self.forgotten = False
        self._served: tuple[int, ServedVersion | None] = (0, None)
        self._uploaded: list[Output] = []
        self._running: list[tuple[str, int, Fate]] = []
        self._last_label_of = -1
        self.log.damage = self._note_handed

    def clock(self) -> int:
        return self.log.now + self.skew

    # --- what comes in -----------------------------------------------------------------------------

    def publish(self, event_id: str | None = None, features: Features | None = None) -> str:
        """Put an event on the features topic; without a name it is the next one that a label came early for."""
        if event_id is None:
            event_id = self.early.pop(0) if self.early else self._new_id()
        number = len(self.log.read(TOPIC["features"]))
        features = features or {"x": (number * 37 % 11) / 11, "y": (number * 17 % 7) / 7}
        event = Event(event_id, self.log.now, features)
        partition = number % self.log.count(TOPIC["features"])
        self.log.append(Output(TOPIC["features"], partition, event_id.encode(), event.encode()))
        return event_id

    def _new_id(self) -> str:
        number = len(self.truths)
        event_id = f"e{number}"
        self.truths[event_id] = number * 7 % 5 < 2
        return event_id

    def label(self, how: str, pick: int = 0) -> None:
        """Put a label on its topic, in one of the ways that labels come."""
        if how == "for no event":
            self._write_label(f"nobody-{len(self.log.read(TOPIC['labels']))}", True)
        elif how == "unreadable":
            self.log.append(Output(TOPIC["labels"], pick % PARTITIONS, None, b"\xff" * 9))
        elif how == "before its features":
            self.early.append(self._new_id())
            self._write_label(self.early[-1], self.truths[self.early[-1]])
        elif names := [name for name in self.truths if self.labels_of[name] < _MOST_LABELS_AN_ID]:
            index = pick % len(names)
            self.tally["reorderings"] += index < self._last_label_of
            self._last_label_of = index
            name = names[index]
            self.tally["duplicates"] += self.labels_of[name] > 0
            self._write_label(
                name,
                self.truths[name] != (how in ("contradicting", "correction")),
                kind="correction" if how == "correction" else "label",
                partition=1 - partition_of(name, PARTITIONS) if how == "misplaced" else None,
            )

    def _write_label(self, name: str, value: bool, kind: Any = "label", partition: int | None = None) -> None:
        self.labels_of[name] += 1
        at = partition_of(name, self.log.count(TOPIC["labels"])) if partition is None else partition
        made = Label(name, value, self.log.now, kind=kind)
        self.log.append(Output(TOPIC["labels"], at, name.encode(), made.encode()))

    def upload(self, count: int, poisoned: bool) -> None:
        """Labelled history goes straight onto the examples log, as a lane of its own."""
        for _ in range(count):
            number = len(self._uploaded)
            value = "no number" if poisoned and self.can_be_poisoned else number / 7 % 1
            features: Features = {"x": value, "y": 0.5}
            name = f"h{number}"
            example = Example(
                Event(name, self.log.now, features),
                None,
                Label(name, number % 2 == 0, self.log.now, source="import"),
                Lane("import-a", "1", number),
                None,
            )
            self._uploaded.append(Output(TOPIC["examples"], 0, None, example.encode()))
            self.log.append(self._uploaded[-1])

    def upload_again(self, count: int) -> None:
        """An import that is not sure what arrived sends its last examples again."""
        for output in self._uploaded[-count:]:
            self.tally["duplicates"] += 1
            self.log.append(output)

    def wait(self, milliseconds: int) -> None:
        self.log.now += milliseconds
        self.tally["idle spells"] += milliseconds > WAIT

    # --- processes ---------------------------------------------------------------------------------

    def turn(self, role: str, member: int, take: tuple[int, int] = (9, 9), fate: Fate = GO_ON) -> None:
        """Let a process take one turn; start it first where it does not run.

        `take`: of features, predictions or examples, and of labels, at most so many of each partition.
        """
        group = self.groups[role]
        if role == "learner" and self.stopped:
            return
        self._running.append((role, member, fate))
        try:
            loop = group.loops[member]
            if loop is None:
                loop = group.loops[member] = self._start(role, member)
                loop.step({})  # a predictor first looks for what it is to serve
            self.tally["reorderings"] += 0 in take
            paces = dict.fromkeys((TOPIC["features"], TOPIC["predictions"], TOPIC["examples"]), take[0])
            before = loop.overlapped
            loop.step({**paces, TOPIC["labels"]: take[1]})
            self.tally["overlapped commits"] += loop.overlapped - before
        except (Crash, FencedOff, StoreUnavailable, Doubt, RoleRefused) as error:
            self._died(role, member, error)
        finally:
            self._running.pop()

    def _died(self, role: str, member: int, error: Exception) -> None:
        self.tally["crashes"] += isinstance(error, Crash)
        self.tally["zombies refused"] += isinstance(error, FencedOff)
        self.groups[role].loops[member] = None
        if isinstance(error, RoleRefused) and role == "learner":
            self.stopped = str(error)
        elif isinstance(error, RoleRefused):  # it was given another share meanwhile; the next start says --new-epoch
            assert self._inputs_are_others(), error

    def _start(self, role: str, member: int, new_epoch: bool = False) -> SimulatedLoop:
        processor = self._processor(role, member, new_epoch)
        share = self.groups[role].shares[member]
        try:
            return SimulatedLoop(self.log, NAMES.group(role), processor, self._reached, share, self.clock, self.overlap)
        except RoleRefused as error:
            if role != "joiner" or new_epoch or not self._inputs_are_others():
                raise
            self.tally["refused topics"] += "--new-epoch fresh" in str(error)
            return self._start(role, member, new_epoch=True)

    def _inputs_are_others(self) -> bool:
        return bool(self.remade & {TOPIC["predictions"], TOPIC["labels"]})

    def _processor(self, role: str, member: int, new_epoch: bool) -> Processor:
        if role == "predictor":
            return Predictor(PredictorSettings(NAMES, Contract(), PARTITIONS), self, self.clock)
        if role == "joiner":
            settings = JoinerSettings(NAMES, self.rules, PARTITIONS, max_pending=1000, new_epoch=new_epoch)
            return Joiner(settings, self.disks[member])
        settings_of_learner = LearnerSettings(NAMES, CheckpointPace(every=1.0, examples=4))
        return Learner(settings_of_learner, self.checkpoints, self.control, self.said.append)

    def newest(self) -> ServedVersion | None:
        """Be the `VersionSource` of all predictors: what the models topic announced last."""
        at, served = self._served
        records = self.log.read(TOPIC["models"])
        if len(records) > at:
            state = read_model_update(records[-1].value or b"").state
            assert isinstance(state, Published)
            manifest = self.store.manifest(VersionId("sim", state.epoch, state.examples))
            model = wrap(self.store.load(manifest, "model"), "binary")
            served = ServedVersion(model, "sim", state.epoch, state.examples, self.clock(), None)
            self._served = (len(records), served)
        return served

    def _reached(self, place: str) -> bool:
        """Say whether the process that runs dies here; if it is to sleep here, have another work meanwhile."""
        if not self._running:
            return False
        role, member, fate = self._running[-1]
        if fate.place != place or fate == GO_ON:
            return False
        self._running[-1] = (role, member, GO_ON)
        if fate.what == "sleep":
            self._sleep(role, member)
        return fate.what == "die"

    def _sleep(self, role: str, member: int) -> None:
        self.tally["zombies"] += 1
        other = 1 - member
        self.share(role, {other: NUMBERS, member: frozenset()}, asleep=member)
        for _ in range(3):
            self.log.now += 7
            self.turn(role, other)

    def share(self, role: str, shares: Mapping[int, frozenset[int]], asleep: int | None = None) -> None:
        """Share partitions out anew among a role's processes; who is asleep does not hear of it."""
        group = self.groups[role]
        self.tally["rebalances"] += asleep is None
        for member, share in shares.items():
            group.shares[member] = share
        # Each process ends its commit in flight before it joins again, so before any of them is given its share.
        self._tell(role, asleep, lambda loop, share: loop.land())
        self._tell(role, asleep, lambda loop, share: loop.settle(share))

    def _tell(self, role: str, asleep: int | None, call: Callable[[SimulatedLoop, frozenset[int]], None]) -> None:
        group = self.groups[role]
        for member, loop in enumerate(group.loops):
            if loop is None or member == asleep:
                continue
            self._running.append((role, member, GO_ON))
            try:
                call(loop, group.shares[member])
            except (FencedOff, StoreUnavailable, Doubt, RoleRefused) as error:
                self._died(role, member, error)
            finally:
                self._running.pop()

    # --- what goes wrong beside --------------------------------------------------------------------

    def lose_disk(self, member: int) -> None:
        self.tally["lost disks"] += 1
        self.disks[member] = MemoryStore()
        self.groups["joiner"].loops[member] = None

    def remake(self, kind: str, with_places: bool) -> None:
        """Delete a topic and make it again; who reads it finds it gone and ends."""
        self.tally["topics made again"] += 1
        self.remade.add(TOPIC[kind])
        self.log.recreate(TOPIC[kind], with_places)
        for group in self.groups.values():
            group.loops = [None, None]

    def grow(self, kind: str, more: int, running: bool) -> None:
        """Add partitions to a topic, while the roles run or while they are down."""
        if self.log.count(TOPIC[kind]) + more > len(NUMBERS):
            return
        self.tally["topics grown"] += 1
        self.log.grow(TOPIC[kind], more)
        for role, group in self.groups.items():
            if running:
                self.share(role, dict(enumerate(group.shares)))
            else:
                group.loops = [None, None]

    def forget_places(self, disks_too: bool) -> None:
        """Kafka forgets where the joiners stood, as after a week without them."""
        self.tally["forgotten places"] += 1
        self.forgotten = True
        self.groups["joiner"].loops = [None, None]
        self.log.places = {key: at for key, at in self.log.places.items() if key[0] != NAMES.group("joiner")}
        for member in range(2 if disks_too else 0):
            self.disks[member] = MemoryStore()

    def damage_next(self, how: str) -> None:
        """Have the broker lose, or keep twice, an example of the joiner's next transaction: P1 in the field."""

        def damaged(outputs: Sequence[Output]) -> Sequence[Output]:
            at = [number for number, output in enumerate(outputs) if output.topic == TOPIC["examples"]]
            if not at:
                return outputs
            self.tally[f"examples {how}"] += 1
            self.handed += [outputs[number] for number in at]
            times = 0 if how == "lost" else 2
            self.log.damage = self._note_handed
            return [each for n, output in enumerate(outputs) for each in [output] * (times if n == at[0] else 1)]

        self.log.damage = damaged

    def _note_handed(self, outputs: Sequence[Output]) -> Sequence[Output]:
        self.handed += [output for output in outputs if output.topic == TOPIC["examples"]]
        return outputs

    # --- the end -----------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let all that waits end, and everything be read, learned and announced."""
        self.skew, self.control.paused, self.backend.full = 0, False, 0
        for role in ROLES:
            self.share(role, {0: NUMBERS, 1: frozenset()})
        self._drain()
        while self.early:
            self.publish()
        self._drain()
        self.log.now += 5 * WAIT
        for number in range(PARTITIONS):
            self.log.append(Output(TOPIC["labels"], number, None, codec.TICK.encode({"written_by": "test"})))
        for partition in range(PARTITIONS):  # so that the predictions' clock passes what labels wait for
            self.publish(next(n for n in map("last{}".format, range(99)) if partition_of(n, PARTITIONS) == partition))
        self._drain()
        for role in ROLES:
            if (loop := self.groups[role].loops[0]) is not None:
                loop.end()

    def _drain(self) -> None:
        for _ in range(200):
            self.log.now += 10
            for role in ROLES:
                self.turn(role, 0, (50, 50))
            loops = [self.groups[role].loops[0] for role in ROLES if not (role == "learner" and self.stopped)]
            if all(loop is not None and loop.idle() for loop in loops):
                return
        raise AssertionError("the stream does not come to rest")
