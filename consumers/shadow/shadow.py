"""The shadow role: asks the models that did not answer a prediction, with what they knew then.

It reads whole predictions and writes one record for each onto the shadows topic, on the partition of the prediction.
Predictors know nothing of it, so serving never waits. Its answers depend on the log and the store alone: on the times
of predictions and announcements, and on the share in the committed offset metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Protocol

from consumers.loop.alerts import Alerts
from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import short_ids
from consumers.loop.processor import Assignment, Start
from consumers.loop.start_offsets import Starts
from consumers.roles import SHADOW
from consumers.shadow.ask import Asked, ask
from consumers.shadow.event_share import Ends, ShareControl, chosen
from consumers.shadow.offset_metadata import ShadowMetadata
from consumers.shadow.shadow_records import PredictionParts, ReadPrediction, ShadowWriter, tick
from consumers.shadow.versions import ChallengerVersions
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions, Record
from schemas.codec import CodecError
from schemas.comparisons import MODEL_FAILED, Challenger
from schemas.contract import Contract, ContractError
from schemas.events import Features, is_joinable, is_served, read_prediction
from schemas.model_names import is_named
from schemas.preparing import Prepare, of_event
from schemas.topics import SHADOWS, Names

SHARE_HALVED: Final = "shadow.share"
"""Name of the alert that the share is halved."""
_TICK_EVERY_MS: Final = 1000
_DAY_MS: Final = 24 * 3600 * 1000


class PredictionTimes(Ends, Protocol):
    """The topic of predictions by time."""

    def first_after(self, times: Mapping[Partition, int]) -> Mapping[Partition, int | None]:
        """Return each partition's first offset at or after its time (ms, by the broker), `None` if there is none."""


@dataclass(frozen=True)
class ShadowSettings:
    """Settings of a shadow role.

    Attributes
    ----------
    models
        Ids of the stream's models.
    spread
        Number of partitions of predictions that event ids are spread over; the others hold no predictions to join.
    share
        Share of the events that is shadowed, unless the role is far behind.
    contract
        The stream's: an event that its model failed on is on the topic as it was sent.
    slices
        Returns the slices of an event by its features, and `sliced` is how many there can be.
    new_epoch
        Continue although the topic of predictions is no longer the one that the role left, instead of refusing.
    prepare
        As of a predictor.
    """

    names: Names
    models: Sequence[str]
    spread: int
    share: float = 1.0
    contract: Contract = field(default_factory=Contract)
    slices: Callable[[Features], Mapping[str, str]] = lambda features: {}
    sliced: int = 0
    new_epoch: bool = False
    prepare: Prepare | None = None


@dataclass
class _Event:
    """A prediction to shadow, with its answers so far."""

    partition: Partition
    offset: int
    time: int
    prediction: ReadPrediction
    challengers: list[Challenger] = field(default_factory=list)


class Shadows:
    """The `Processor` of the shadow role; the module docstring describes it.

    Parameters
    ----------
    times
        Used at the first start, and to notice that the role is far behind.
    say
        Prints one line for the operator.
    memory
        Remembers which topic of predictions was read last, and up to which offset.
    """

    def __init__(
        self,
        settings: ShadowSettings,
        versions: ChallengerVersions,
        times: PredictionTimes,
        say: Callable[[str], None] = print,
        memory: TopicMemory | None = None,
    ) -> None:
        self._settings = settings
        self._versions = versions
        self._times = times
        self._say = say
        self._memory = memory or TopicMemory()
        self._predictions = settings.names.whole
        self._shadows = settings.names.topic(SHADOWS)
        self._starts = Starts(SHADOW, ShadowMetadata, self._memory, (), settings.new_epoch, say)
        self._reader = PredictionParts()
        self._share = ShareControl(times)
        self._alerts = Alerts(settings.names, say)
        self._notes: dict[Partition, ShadowMetadata] = {}
        self._written: dict[Partition, int] = {}  # time of the last record on the shadows topic
        self._topic_id = ""

    @property
    def topics(self) -> Sequence[str]:
        return (self._predictions,)

    @property
    def overlaps(self) -> bool:
        return True

    # --- assignment --------------------------------------------------------------------------------

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._topic_id = short_ids(assignment.topic_ids[self._predictions])
        starts, self._notes = self._starts.take(assignment)
        for note in self._notes.values():
            note.keep(self._settings.models)
        # A start that an operator has decided on stays.
        new = [at for at, place in assignment.committed.items() if place is None and not starts[at].back]
        starts.update(self._first_starts(new, assignment))
        self._share.begin(self._notes)
        self._written = {}
        self._alerts.restore(*(note.alerts for note in self._notes.values()))
        return starts

    def _first_starts(self, new: Sequence[Partition], assignment: Assignment) -> dict[Partition, Start]:
        """Begin with the first prediction that a named model can have answered: before, no model had a version."""
        if not new:
            return {}
        named = [model for model in self._settings.models if is_named(model)]
        since = self._versions.first_announced(named)
        found = {} if since is None else self._times.first_after(dict.fromkeys(new, since))
        starts = {}
        for partition in new:
            offset = found.get(partition)
            starts[partition] = Start(
                assignment.ends[partition] if offset is None else max(offset, assignment.beginnings[partition])
            )
        return starts

    def recover(self, batch: Batch) -> None:
        """Never called: there is nothing to recover."""

    def recovered(self) -> None:
        """Nothing to recover."""

    # --- records -----------------------------------------------------------------------------------

    def process(self, batch: Batch) -> list[Output]:
        read = {
            partition: self._read(partition, records)
            for partition, records in batch.items()
            if partition.partition < self._settings.spread
        }
        self._answer([event for events in read.values() for event in events])
        outputs: list[Output] = []
        for partition, events in read.items():
            outputs += self._write(partition, events)
            outputs += self._tick(partition, batch[partition][-1].timestamp)
        return outputs

    def _read(self, partition: Partition, records: Sequence[Record]) -> list[_Event]:
        """Return the predictions to shadow: the joinable ones among the share."""
        note = self._notes[partition]
        share = self._share_of(note)
        events = []
        for record in records:
            value = record.value or b""
            if not value or not is_served(value):
                continue
            try:
                prediction = self._reader.read(value) if is_joinable(value) else self._failed(value)
            except CodecError:
                note.unreadable += 1
                continue
            if prediction is None:
                continue  # no model was asked
            if chosen(prediction.event_id, share):
                events.append(_Event(partition, record.offset, record.timestamp, prediction))
            else:
                note.left_out += 1
        if records:
            self._share.read(partition, records[-1].timestamp)
        return events

    def _failed(self, value: bytes) -> ReadPrediction | None:
        """Return a prediction whose model failed, `None` if the event was refused before. Raises CodecError."""
        said = read_prediction(value)
        error = said.outcome.error
        if error is None or error.code != MODEL_FAILED:
            return None
        try:
            settings, event = self._settings, said.event
            used = of_event(settings.contract, settings.prepare, event.features, event.event_time)
        except ContractError:
            return None
        return self._reader.read(value)._replace(features=used)

    def _answer(self, events: list[_Event]) -> None:
        """Ask every challenger, in the order of time, so that each version is loaded once."""
        if not events:
            return
        events.sort(key=attrgetter("time"))
        self._versions.cover(events[0].time, events[-1].time)
        for model in self._settings.models:
            asked = [event for event in events if event.prediction.served_by != model]
            answers = ask(self._versions, model, [Asked(each.time, each.prediction.features) for each in asked])
            for event, answer in zip(asked, answers, strict=True):
                event.challengers.append(answer)

    def _write(self, partition: Partition, events: Sequence[_Event]) -> list[Output]:
        writer, note = ShadowWriter(partition.partition), self._notes[partition]
        outputs = []
        for event in events:
            prediction = event.prediction
            slices = self._settings.slices(prediction.features)
            note.unsliced += self._settings.sliced - len(slices)
            for answer in event.challengers:
                note.note(answer)
            value = writer.write(prediction, (event.offset, event.time), slices, event.challengers)
            outputs.append(Output(self._shadows, partition.partition, prediction.event_id, value))
            self._written[partition] = event.time
        note.shadowed += len(events)
        return outputs

    def _tick(self, partition: Partition, newest: int) -> list[Output]:
        """Tell the judge the time where predictions go on without shadows: its labels wait by that clock."""
        if newest - self._written.get(partition, 0) < _TICK_EVERY_MS:
            return []
        self._written[partition] = newest
        return [Output(self._shadows, partition.partition, None, tick(newest))]

    # --- the share ---------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Output]:
        """Change the share of partitions that are far behind, or no longer: from the next turn on."""
        changes = self._share.changes({at: note.halved for at, note in self._notes.items()}, now_ms)
        for partition, halved in changes.items():
            note = self._notes[partition]
            note.halved = halved
            at = f"{partition.topic}[{partition.partition}]"
            self._say(f"{at}: a share of {self._share_of(note):.3g} of the events is shadowed from now on")
        self._forget()
        return self._share_alert(now_ms)

    def _share_of(self, note: ShadowMetadata) -> float:
        return float(self._settings.share / 2**note.halved)

    def _share_alert(self, now_ms: int) -> list[Output]:
        most = max((note.halved for note in self._notes.values()), default=0)
        if not most:
            return self._alerts.clear(SHARE_HALVED, now_ms)
        text = (
            f"the shadow role was over a minute behind the predictions, so only a share of "
            f"{self._settings.share / 2**most:.3g} of the events is shadowed, for all models alike: run another "
            f"`millstream shadow {self._settings.names.stream}`, or fewer or faster models"
        )
        return self._alerts.raise_(SHARE_HALVED, "warning", text, now_ms)

    def _forget(self) -> None:
        oldest, newest = self._share.oldest(), self._share.newest()
        if oldest is not None and newest is not None:
            # An idle partition must not keep all announcements: a prediction before them makes them be read again.
            self._versions.forget(max(oldest, newest - _DAY_MS))

    # --- places ------------------------------------------------------------------------------------

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        alerts = self._alerts.remembered()
        places = {}
        for partition, offset in read.items():
            note = self._notes[partition]
            note.alerts, note.share = alerts, self._share_of(note)
            places[partition] = CommittedOffset(offset, note.encode())
        return places

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        offsets = {partition.partition: place.offset for partition, place in places.items()}
        self._memory.remember(self._predictions, self._topic_id, offsets)

    def paused(self) -> frozenset[Partition]:
        return frozenset()

    def stopping(self) -> list[Output]:
        return []

    def close(self) -> None:
        """Save the topic and offsets read so far."""
        self._memory.write()
