"""A referee over a log in memory, and comparisons for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from simulation.log import Crash, MemoryLog, SimulatedLoop

from consumers.model.models_topic_state import Known
from consumers.referee.losses import LossRule
from consumers.referee.offset_metadata import RefereeMetadata
from consumers.referee.referee import Referee, RefereeSettings
from consumers.referee.rule import Rule
from consumers.referee.serving import ServingDecisions
from runtime.kafka_client.records import Output, Partition
from schemas import codec
from schemas.alerts import Alert, read_alert
from schemas.comparisons import Challenger, Comparison, Shadow
from schemas.events import Event, Failure, Joined, Label, Lane, Outcome
from schemas.model_updates import Decision, ModelUpdate, Promoted, Serving, read_model_update
from schemas.target import Target
from schemas.topics import COMPARISONS, Names

NAMES: Final = Names("s", models=("b", "c"), promotes=True)
GROUP: Final = NAMES.group("referee")
MAIN, B, C = "s", "s.b", "s.c"
RULE: Final = Rule((MAIN, B, C), LossRule(Target(task="binary"), "error"), labels=50, settle_ms=1_000, wait_ms=1_000)
_CYCLE: Final = 20


def comparison(
    number: int,
    wrong: Mapping[str, bool | None],
    *,
    served: str = MAIN,
    epochs: Mapping[str, int] | None = None,
    delay: int = 500,
    partition: int = 0,
    correction: bool = False,
    failed: Sequence[str] = (),
    code: str = "model",
    time: int | None = None,
) -> Comparison:
    """Return the comparison of an event, one every 10 ms; `wrong` says whose answer is wrong.

    `None` stands for a model that had no version yet; a model that is not named was not asked.
    """
    at, epochs = 10 * number if time is None else time, epochs or {}
    error = Failure(code, "it broke") if served in failed else None
    outcome = Outcome(
        None if error else not wrong[served],
        None,
        served,
        -1 if error else epochs.get(served, 1),
        number,
        at,
        "s.features",
        partition,
        number,
        error,
        status="error" if error else "ok",
    )
    challengers = [
        Challenger(
            model,
            -1 if is_wrong is None else epochs.get(model, 1),
            number,
            5,
            None if is_wrong is None or model in failed else not is_wrong,
            None,
            "no-version" if is_wrong is None else "model" if model in failed else None,
        )
        for model, is_wrong in wrong.items()
        if model != served
    ]
    shadow = Shadow(Event(f"e{number}", at, {}), partition, number, at, {}, challengers, outcome)
    label = Label(f"e{number}", True, at + delay, kind="correction" if correction else "label")
    return Comparison(shadow, label, Lane("0", "x", number), Joined(partition, number, at, number, at + delay))


def encoded(compared: Comparison) -> bytes:
    """Return a comparison as the judge writes it."""
    shadow, label, lane, joined = compared.shadow.encode(), compared.label, compared.lane, compared.joined
    assert label is not None
    assert joined is not None
    parts = codec.string(lane.name), codec.string(lane.epoch), codec.long(lane.sequence), b"\x02"
    places = joined.partition, joined.prediction_offset, joined.prediction_time, joined.label_offset, joined.label_time
    body = shadow[codec.HEADER_BYTES :] + b"\x02" + label.encode()[codec.HEADER_BYTES :]
    return codec.COMPARISON.header + body + b"".join(parts) + b"".join(map(codec.long, places))


def cycle(number: int, errors: Mapping[str, int]) -> dict[str, bool | None]:
    """Return who is wrong at an event: each model so many times in twenty events, evenly spread."""
    return {model: (number * 7) % _CYCLE < count for model, count in errors.items()}


@dataclass
class World:
    """The topics of a stream with a rule, and the referee that works on them.

    Attributes
    ----------
    lags
        True if the referee never sees what is on the models topic until it is restarted.
    """

    rule: Rule = RULE
    lags: bool = False
    log: MemoryLog = field(
        default_factory=lambda: MemoryLog(
            {NAMES.topic(kind): 1 for kind in (COMPARISONS, "models", "decisions", "alerts")}
        )
    )
    said: list[str] = field(default_factory=list)
    new_epoch: bool = False

    def add(self, *several: Comparison) -> None:
        for each in several:
            self.log.append(Output(NAMES.topic(COMPARISONS), 0, b"", encoded(each)))

    def decide(self, model: str, epoch: int | None = None, why: str = "by hand") -> None:
        """Let a person decide which model serves."""
        state: Decision = Serving(model, 0, epoch, None if epoch is None else 7, "ann", why)
        for kind in ("decisions", "models"):
            update = ModelUpdate(self.log.now, state)
            self.log.append(Output(NAMES.topic(kind), 0, state.key.encode(), update.encode()))

    def known(self) -> Known:
        """Return the state of the models topic, as anybody reads it after compaction."""
        last = {record.key: record for record in self.log.read(NAMES.topic("models"))}
        known = Known()
        for record in sorted(last.values(), key=lambda each: each.offset):
            known.take(record.key, record.value)
        return known

    def referee(self, serving: ServingDecisions | None = None) -> Referee:
        if serving is None:
            serving = ServingDecisions(MAIN)
            serving.follow(self.known())
        settings = RefereeSettings(NAMES, self.rule, self.new_epoch)
        return Referee(settings, serving, clock=lambda: self.log.now, say=self.said.append)

    def work(self, crash: Callable[[str], bool] = lambda place: False, take: int = 7) -> Referee:
        """Run a referee until all is read, starting again after every crash."""
        while True:
            serving = ServingDecisions(MAIN)
            serving.follow(self.known())
            referee = self.referee(serving)
            try:
                loop = SimulatedLoop(self.log, GROUP, referee, crash)
                while not loop.idle():
                    loop.step({NAMES.topic(COMPARISONS): take})
                    if not self.lags:
                        serving.follow(self.known())
                loop.step({})
                loop.end()
            except Crash:
                continue
            return referee

    def decisions(self, kind: str = "decisions") -> list[Promoted]:
        states = [read_model_update(each.value or b"").state for each in self.log.read(NAMES.topic(kind))]
        return [state for state in states if isinstance(state, Promoted)]

    def alerts(self) -> list[Alert]:
        return [read_alert(record.value or b"") for record in self.log.read(NAMES.topic("alerts"))]

    def metadata(self) -> RefereeMetadata:
        place = self.log.places[GROUP, Partition(NAMES.topic(COMPARISONS), 0)]
        told: Any = RefereeMetadata.decode(place.metadata)
        assert isinstance(told, RefereeMetadata)
        return told
