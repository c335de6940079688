"""A monitor over a log in memory, with predictions and examples for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from simulation.log import Crash, MemoryLog, Overlap, SimulatedLoop

from consumers.loop.processor import Processor
from consumers.monitor.judging_protocol import Judging
from consumers.monitor.monitor import Monitor, MonitorSettings
from consumers.monitor.offset_metadata import MonitorMetadata
from consumers.monitor.windows import WindowRules
from runtime.exits import Doubt
from runtime.kafka_client.records import Output, Partition
from schemas import codec
from schemas.alerts import Alert, read_alert
from schemas.events import Event, Example, Failure, Features, Joined, Label, Lane, Outcome
from schemas.profiles import Pairs, Profile, ServedGroup, Window, read_window
from schemas.topics import PROFILES, Names

NAMES: Final = Names("s")
GROUP: Final = NAMES.group("monitor")
PREDICTIONS, EXAMPLES, WINDOWS = (NAMES.topic(kind) for kind in ("predictions", "examples", PROFILES))
SPAN: Final = 1_000
EVERY: Final = 7
"""Events of a full window."""


class Columns:
    """Profiles that hold every value: as categories, in their order."""

    def __init__(self) -> None:
        self.columns: dict[str, list[str]] = {}

    def add_features(self, rows: Sequence[Features]) -> None:
        for row in rows:
            for name, value in row.items():
                self.columns.setdefault(f"feature:{name}", []).append(repr(value))

    def add(self, key: str, values: Sequence[object]) -> None:
        self.columns.setdefault(key, []).extend(repr(value) for value in values if value is not None)

    def finish(self, events: int) -> tuple[dict[str, Profile], Pairs | None, int]:
        found = {}
        for key, values in self.columns.items():
            ranked = {f"{at}:{value}": 1 for at, value in enumerate(values)}
            found[key] = Profile(events - len(values), {}, None, ranked, 0, [], True)
        return found, None, 0


class Sums:
    """Served sums whose state is the ids of all examples so far: what one forgets or takes twice shows."""

    def __init__(self, state: bytes) -> None:
        self.ids = state.decode().split() if state else []
        self.own = 0

    def add(self, examples: Sequence[Example], times: Sequence[int]) -> None:
        self.ids += [each.event.event_id for each in examples]
        self.own += len(examples)

    def finish(self) -> tuple[list[ServedGroup], bytes]:
        return [ServedGroup({}, self.own, {})], " ".join(self.ids).encode()


class Counts:
    """A judging that raises an alert at each window of a bucket that is a multiple of three, and remembers how many."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.alerts = 0
        self.whole = False

    def restore(self, remembered: str) -> None:
        self.alerts = int(remembered or 0)

    def recover(self, window: Window) -> None:
        assert not self.whole
        self.seen.append(window.key)

    def recovered(self) -> None:
        self.whole = True

    def take(self, window: Window) -> list[Output]:
        assert self.whole
        self.seen.append(window.key)
        if window.start // SPAN % 3:
            return []
        self.alerts += 1
        alert = Alert(f"monitor.{self.alerts}", "warning", "raised", window.key.decode(), window.start, {})
        return [Output(NAMES.topic("alerts"), 0, alert.name.encode(), alert.encode())]

    def tick(self, now_ms: int) -> list[Output]:
        assert self.whole
        return []

    def remembered(self) -> str:
        return str(self.alerts)

    def open_findings(self) -> Sequence[str]:
        return [f"alert {number}" for number in range(self.alerts)]


RULES: Final = WindowRules(SPAN, EVERY, Columns, Sums)


def prediction(
    number: int, time: int, features: Features | None = None, failed: bool = False, stuck: bool = False
) -> bytes:
    """Return a whole prediction.

    `failed`: no model answered. `stuck`: a predictor that stands on its first version answered every third event.
    """
    other = stuck and number % 3 == 0
    error = Failure("no-version", "there is none") if failed else None
    shares = None if failed else {"true": 0.75, "false": 0.25}
    outcome = Outcome(
        None if failed else number % 2 == 0,
        shares,
        "s",
        -1 if failed else 3,
        0 if other else number,
        time,
        "s.features",
        int(other),
        number,
        error,
        status="error" if failed else "ok",
    )
    event = Event(f"e{number}", time - 5, {"x": number / 2, "c": "DE"} if features is None else features)
    return codec.PREDICTION.encode(
        {
            "event": {name: getattr(event, name) for name in event.__struct_fields__},
            "outcome": {
                **{name: getattr(outcome, name) for name in outcome.__struct_fields__},
                "error": None if error is None else {"code": error.code, "message": error.message},
            },
        }
    )


def example(number: int, time: int, **changes: Any) -> Example:
    label = Label(f"e{number}", number % 2 == 0, time)
    joined = Joined(0, number, time - 40, number, time)
    return replace_struct(
        Example(Event(f"e{number}", time, {"x": 1.0}), None, label, Lane("0", "x", number), joined), **changes
    )


def replace_struct(made: Example, **changes: Any) -> Example:
    return Example(**{name: changes.get(name, getattr(made, name)) for name in made.__struct_fields__})


@dataclass
class World:
    """The topics of a stream that is watched, and its monitors."""

    partitions: int = 2
    rules: WindowRules = RULES
    overlap: Overlap = "never"
    new_epoch: bool = False
    judges: list[Judging] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    log: MemoryLog = field(init=False)

    def __post_init__(self) -> None:
        kinds = ("examples", PROFILES, "alerts")
        self.log = MemoryLog({PREDICTIONS: self.partitions} | {NAMES.topic(kind): 1 for kind in kinds})

    def predict(self, count: int, every_ms: int = 90, **more: Any) -> None:
        """Put so many predictions on the log, and an example for each second one."""
        first = len(self.log.read(PREDICTIONS))
        for number in range(first, first + count):
            self.log.now += every_ms
            value = prediction(number, self.log.now, **more)
            self.log.append(Output(PREDICTIONS, number % self.partitions, None, value))
            if number % 2:
                self.log.append(Output(EXAMPLES, 0, None, example(number, self.log.now).encode()))

    def new_judging(self) -> Judging:
        judging = Counts()
        self.judges.append(judging)
        return judging

    def monitor(self, **more: Any) -> Processor:
        settings = MonitorSettings(NAMES, self.rules, new_epoch=self.new_epoch)
        return Monitor(settings, self.new_judging, say=self.said.append, **more)

    def loop(self, crash: Callable[[str], bool] = lambda place: False, **more: Any) -> SimulatedLoop:
        processor = more.pop("processor", None) or self.monitor()
        return SimulatedLoop(self.log, GROUP, processor, crash, overlap=self.overlap, **more)

    def work(
        self,
        crash: Callable[[str], bool] = lambda place: False,
        take: int = 3,
        monitor: Callable[[], Processor] | None = None,
    ) -> None:
        """Run a monitor until all is read, starting again after every crash."""
        while True:
            try:
                loop = self.loop(crash, processor=monitor() if monitor is not None else None)
                while not loop.idle():
                    loop.step({PREDICTIONS: take, EXAMPLES: take, WINDOWS: take})
                loop.step({})
                loop.end()
            except (Crash, Doubt):
                continue
            return

    def windows(self) -> list[Window]:
        return [read_window(record.value or b"") for record in self.log.read(WINDOWS)]

    def by_place(self) -> dict[tuple[str, int], list[Window]]:
        """Return the windows of each partition, in the order in which they were written."""
        found: dict[tuple[str, int], list[Window]] = {}
        for window in self.windows():
            found.setdefault((window.topic, window.partition), []).append(window)
        return found

    def alerts(self) -> list[tuple[str, str]]:
        found = [read_alert(record.value or b"") for record in self.log.read(NAMES.topic("alerts"))]
        return [(alert.name, alert.message) for alert in found]

    def note(self, topic: str, number: int = 0) -> MonitorMetadata:
        told = MonitorMetadata.decode(self.log.places[GROUP, Partition(topic, number)].metadata)
        assert told is not None
        return told


def with_rules(**changes: Any) -> WindowRules:
    return replace(RULES, **changes)
