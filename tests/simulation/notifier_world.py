"""A notifier on an alerts topic in memory, with receivers that its targets name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from receiver import Receiver, Request
from simulation.log import MemoryLog, SimulatedLoop

from consumers.notifier.notifier import Notifier, NotifierSettings
from consumers.notifier.offset_metadata import NotifierMetadata
from consumers.notifier.target import Target
from runtime.kafka_client.records import Output, Partition
from schemas.alerts import Alert, AlertDecision, AlertNote, read_alert
from schemas.topics import Names

NAMES = Names("s", notifies=True)
TOPIC = NAMES.topic("alerts")
PLACE = Partition(TOPIC, 0)
MINUTE = 60_000


class World:
    """The alerts topic, and the notifier that works on it."""

    def __init__(self, *targets: Target) -> None:
        self.log = MemoryLog({TOPIC: 1})
        self.targets = targets
        self.said: list[str] = []
        self.notifier, self.loop = self._start()

    def _start(self) -> tuple[Notifier, SimulatedLoop]:
        notifier = Notifier(NotifierSettings(NAMES, self.targets), lambda: self.log.now, self.said.append)
        return notifier, SimulatedLoop(self.log, NAMES.group("notifier"), notifier)

    def restart(self, *targets: Target) -> None:
        """Kill the process, and start another."""
        self.notifier.close()
        self.targets = targets or self.targets
        self.notifier, self.loop = self._start()

    def alert(
        self, name: str, state: Literal["raised", "cleared"] = "raised", notify: str = "ops", text: str = ""
    ) -> None:
        details = {"notify": notify} if notify and state == "raised" else {}
        alert = Alert(name, "warning", state, text or name, self.log.now, details)
        self.log.append(Output(TOPIC, 0, name.encode(), alert.encode()))

    def note(self, name: str, decision: AlertDecision, minutes: int | None = None) -> None:
        until = None if minutes is None else self.log.now + minutes * MINUTE
        note = AlertNote(name, decision, "ann", "because", self.log.now, until)
        self.log.append(Output(TOPIC, 0, name.encode(), note.encode()))

    def work(self, until: Callable[[], object] = lambda: True) -> None:
        """Take turns until all is read and this holds."""
        end = time.monotonic() + 30
        self.loop.step({TOPIC: 3})
        while not (self.loop.idle() and until()):
            assert time.monotonic() < end, self.metadata()
            self.loop.step({TOPIC: 3})
            time.sleep(0.005)

    def settle(self) -> None:
        """Take turns until all that was read is delivered."""
        self.work(lambda: self.at() == len(self.log.records[PLACE]) and self.waiting() == 0)

    def waiting(self) -> int:
        return sum(not each.idle for each in self.notifier._couriers.values())

    def metadata(self) -> NotifierMetadata:
        told = NotifierMetadata.decode(self.log.places[NAMES.group("notifier"), PLACE].metadata)
        assert isinstance(told, NotifierMetadata)
        return told

    def at(self) -> int:
        return self.log.places[NAMES.group("notifier"), PLACE].offset

    def raised(self) -> list[tuple[str, str]]:
        found = [read_alert(each.value or b"") for each in self.log.read(TOPIC) if (each.key or b"").startswith(b"not")]
        return [(each.name, each.state) for each in found]


def target(receiver: Receiver, name: str = "ops", **more: Any) -> Target:
    return Target(name, more.pop("kind", "webhook"), receiver.url, **more)


def told(requests: Sequence[Request]) -> list[tuple[str, str]]:
    return [(each.json["data"]["name"], each.json["data"]["state"]) for each in requests]


def ids(requests: Sequence[Request]) -> list[str]:
    return [each.headers["webhook-id"] for each in requests]
