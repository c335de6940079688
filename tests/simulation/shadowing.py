"""A shadow role over a log in memory: versions that say which they are, predictions, and what comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

import msgspec
from river import linear_model
from simulation.joining import NAMES as PLAIN
from simulation.log import Crash, LoggedRecord, MemoryLog, SimulatedLoop
from unit.store_parts import draft, store_on

from consumers.loop.last_offsets_file import TopicMemory
from consumers.model.checkpoints import Definition
from consumers.model.version_loader import VersionLoader
from consumers.model.version_runtime import RunWith
from consumers.shadow.announcements import Announcements
from consumers.shadow.shadow import Shadows, ShadowSettings
from consumers.shadow.versions import ChallengerVersions
from model_store import MemoryBackend, VersionId, dumps
from runtime.kafka_client.records import Output, Partition
from schemas import codec
from schemas.comparisons import Challenger, Shadow, read_shadow
from schemas.events import Event, Failure, Features, Outcome
from schemas.model_updates import ModelUpdate, Published
from schemas.topics import Names, partition_of

NAMES = Names("sim", models=("forest", "line"))
MODELS = ("sim", "sim.forest", "sim.line")
PARTITIONS = 2
GROUP = NAMES.group("shadow")
KINDS = {
    **dict.fromkeys(("predictions", "labels", "shadows"), PARTITIONS),
    **dict.fromkeys(("comparisons", "models", "decisions", "alerts", "dead-letters"), 1),
}
assert PLAIN.stream == NAMES.stream


def make_log() -> MemoryLog:
    return MemoryLog(
        {NAMES.topic(kind): n for kind, n in {**KINDS, "decisions": 1, "alerts": 1, "dead-letters": 1}.items()}
    )


class MemoryDecisions:
    """The decisions topic and the models topic of a log in memory. `reads` counts the records read."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._next = 0
        self.reads = 0

    def _held(self, kind: str) -> list[LoggedRecord]:
        return self._log.records[Partition(NAMES.topic(kind), 0)]

    def current(self) -> Iterator[LoggedRecord]:
        last = {record.key: record for record in self._held("models")}  # compacted as far as can be
        yield from sorted(last.values(), key=lambda record: record.offset)

    def seek(self, time: int) -> None:
        held = self._held("decisions")
        self._next = next((record.offset for record in held if record.timestamp >= time), len(held))

    def before(self) -> Iterator[LoggedRecord]:
        yield from reversed(self._held("decisions")[: self._next])

    def further(self) -> Iterator[LoggedRecord]:
        found = self._held("decisions")[self._next :]
        self._next += len(found)
        self.reads += len(found)
        yield from found

    def later(self, times: Mapping[Partition, int]) -> Set[Partition]:
        return {at for at, offset in self.first_after(times).items() if offset is not None}

    def first_after(self, times: Mapping[Partition, int]) -> Mapping[Partition, int | None]:
        return {
            at: next((each.offset for each in self._log.records[at] if each.timestamp >= time), None)
            for at, time in times.items()
        }


class Site:
    """A log, a store, and a shadow role over them.

    Every version answers with its number of examples, so an answer says which version gave it.
    """

    def __init__(self, **settings: Any) -> None:
        self.log = make_log()
        self.backend = MemoryBackend()
        self.store = store_on(self.backend)
        self.said: list[str] = []
        self.settings = settings
        self.clock = 0

    def publish(self, model: str, examples: int, made: Any = None) -> VersionId:
        """Write a version into the store."""
        of = VersionId(model, 1, examples)
        made = linear_model.LinearRegression(intercept_init=float(examples)) if made is None else made
        self.store.publish(draft(of), {"model": dumps(made)})
        return of

    def announce(self, model: str, examples: int, made: Any = None) -> VersionId:
        """Write a version and announce it now."""
        of = self.publish(model, examples, made)
        self.say_announced(of)
        return of

    def say_announced(self, of: VersionId) -> None:
        state = Published(of.model, 0, of.epoch, of.examples, "t", 0, self.store.manifest_sha256(of), 0, 0, {})
        for kind in ("models", "decisions"):
            update = ModelUpdate(self.log.now, state)
            self.log.append(Output(NAMES.topic(kind), 0, state.key.encode(), update.encode()))

    def predict(
        self, event_id: str, served_by: str = "sim", features: Features | None = None, error: bool | str = False
    ) -> None:
        """Let a prediction be made now."""
        event = Event(event_id, self.log.now, features or {"x": 1.0, "y": 2.0})
        outcome = Outcome(1.5, None, served_by, 1, 0, self.log.now, NAMES.topic("features"), 0, 0)
        if error:
            failure = Failure(error if isinstance(error, str) else "codec", "no")
            outcome = msgspec.structs.replace(
                outcome,
                prediction=None,
                error=failure,
                status="error",
                epoch=-1,
                examples=-1,
            )
        body = event.encode()[10:] + b"\x02" + codec.OUTCOME.encode_body(msgspec.to_builtins(outcome))
        partition = partition_of(event_id, PARTITIONS)
        self.log.append(Output(NAMES.whole, partition, event_id.encode(), codec.PREDICTION.header + body))

    def role(self, memory: TopicMemory | None = None) -> Shadows:
        """Return a new process's processor."""
        decisions = MemoryDecisions(self.log)
        loader = VersionLoader(self.store, "regression", lambda manifest: RunWith.own(_DEFINITION))
        versions = ChallengerVersions(Announcements(decisions, MODELS), loader, self.said.append)
        settings = ShadowSettings(NAMES, **{"models": MODELS, "spread": PARTITIONS, **self.settings})
        return Shadows(settings, versions, decisions, self.said.append, memory)

    def drain(self, crash: Any = lambda place: False, take: int = 3) -> Shadows:
        """Run until all is read, starting anew after every crash."""
        while True:
            role = self.role()
            try:
                loop = SimulatedLoop(self.log, GROUP, role, crash, clock=self._tick)
                loop.step({NAMES.whole: 0})  # as the loop commits at once what it has taken over
                while not loop.idle():
                    loop.step({NAMES.whole: take})
                loop.land()
                return role
            except Crash:
                continue

    def _tick(self) -> int:
        self.clock += 1
        return self.clock

    def shadows(self) -> list[Shadow]:
        held = self.log.read(NAMES.topic("shadows"))
        return [read_shadow(each.value or b"") for each in held if not (each.value or b"").startswith(TICK)]

    def answers(self) -> dict[str, dict[str, Challenger]]:
        """Return the challengers by event and model; no event may be there twice."""
        found = self.shadows()
        assert len({each.event.event_id for each in found}) == len(found)
        return {each.event.event_id: {one.model: one for one in each.challengers} for each in found}


TICK = codec.SHADOW_TICK.header
_DEFINITION = Definition("sim", "d", "c")
