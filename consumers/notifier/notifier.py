"""Notifier role: reads the alerts topic and delivers alerts to the stream's targets.

An alert is delivered to the targets that its rule names, and to those that get everything, but not while it is
silenced. One that is first raised during the silence, and still is when it ends, is delivered then; changes of one that
was delivered before are not. What an acknowledged alert finds besides is not delivered.

Each target has its own place on the topic, in the metadata of the committed offset, which is that of the target that
is furthest behind. A place moves once the target has accepted the alert: so each alert is delivered at least once.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumers.loop.alert_states import AlertStates, Raised
from consumers.loop.alerts import Alerts
from consumers.loop.last_offsets_file import TopicMemory
from consumers.loop.log_faults import short_ids
from consumers.loop.processor import Assignment, Start
from consumers.loop.start_offsets import Starts
from consumers.notifier.courier import DEAD_AFTER, Courier, Item
from consumers.notifier.messages import Told
from consumers.notifier.offset_metadata import NotifierMetadata, TargetNote
from consumers.notifier.target import Target
from consumers.roles import NOTIFIER
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions, Record
from schemas.alerts import Alert, AlertRecord, read_alert_record
from schemas.codec import CodecError
from schemas.topics import Names

MOST_WITHHELD: Final = 16
_TOLD_AGAIN_MS: Final = 60_000
_DEAD: Final = f"{NOTIFIER}.target."
NOTIFY: Final = "notify"
"""Detail of an alert that names its targets, separated by spaces."""


@dataclass(frozen=True)
class NotifierSettings:
    """Settings of a notifier.

    Attributes
    ----------
    new_epoch
        Continue although the topic is no longer the one that the notifier left, with what comes from now on.
    """

    names: Names
    targets: Sequence[Target]
    new_epoch: bool = False


class Notifier:
    """The `Processor` of the notifier; the module docstring describes it.

    Parameters
    ----------
    say
        Prints one line for the operator.
    memory
        Remembers which topic was read last, and up to which offset.
    """

    def __init__(
        self,
        settings: NotifierSettings,
        clock: Callable[[], int] | None = None,
        say: Callable[[str], None] = print,
        memory: TopicMemory | None = None,
        make: Callable[[Target, str, int], Courier] = Courier,
    ) -> None:
        self._settings = settings
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._say = say
        self._memory = memory or TopicMemory()
        self._make = make
        self._topic = settings.names.topic("alerts")
        self._partition = Partition(self._topic, 0)
        self._topic_id = ""
        self._starts = Starts(NOTIFIER, NotifierMetadata, self._memory, (self._topic,), settings.new_epoch, say)
        self._alerts = Alerts(settings.names, say)
        self._states = AlertStates()
        self._note = NotifierMetadata()
        self._before: Mapping[str, TargetNote] = {}
        self._couriers: dict[str, Courier] = {}
        self._first: dict[str, int] = {}  # offset from which a target gets alerts
        self._withheld: dict[str, Raised] = {}
        self._held_before: dict[str, int] = {}  # what the process before withheld, by offset: some is read again
        self._releasing: dict[str, tuple[int, set[str]]] = {}  # offset, and targets to which it is on its way
        self._told_again: dict[str, int] = {}

    @property
    def topics(self) -> Sequence[str]:
        return (self._topic,)

    @property
    def overlaps(self) -> bool:
        return False

    # --- taking over -------------------------------------------------------------------------------

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._end_couriers()
        self._states, self._withheld, self._held_before, self._releasing = AlertStates(), {}, {}, {}
        if self._partition not in assignment.committed:
            self._say("waiting: another notifier works")
            return {partition: Start(live=end) for partition, end in assignment.ends.items()}
        self._topic_id = short_ids(assignment.topic_ids[self._topic])
        starts, notes = self._starts.take(assignment)
        self._note = notes[self._partition]
        self._alerts.restore(self._note.alerts)
        start, end = starts[self._partition], assignment.ends[self._partition]
        if start.back:
            start = replace(start, live=end)
            self._note.targets, self._note.withheld = {}, {}
        self._before, self._held_before = self._note.targets, dict(self._note.withheld)
        for target in self._settings.targets:
            note = self._before.get(target.name)
            # A new target does not get the alerts of the past.
            self._first[target.name] = end if note is None else note.place
            since = 0 if note is None else note.failing_since
            self._couriers[target.name] = self._make(target, self._settings.names.stream, since)
        # Which alerts are raised, acknowledged and silenced follows from the whole topic.
        beside = {other: Start(live=at) for other, at in assignment.ends.items() if other != self._partition}
        return {**beside, self._partition: replace(start, recover_from=assignment.beginnings[self._partition])}

    def recover(self, batch: Batch) -> None:
        """Read old records again, for the state of the alerts only."""
        for record in batch.get(self._partition, ()):
            read = _read(record)
            if read is not None:
                self._states.take(record.offset, read)

    def recovered(self) -> None:
        """Hold back what the process before did, as far as it is still raised and is not read again."""
        for name, offset in self._held_before.items():
            raised = self._states.raised.get(name)
            if raised is not None and raised.offset == offset and name not in self._states.acks:
                self._withheld[name] = raised
        # What was on its way may have arrived: before anything that comes now, it is delivered again.
        self._release()

    # --- records -----------------------------------------------------------------------------------

    def process(self, batch: Batch) -> list[Output]:
        for record in batch.get(self._partition, ()):
            read = _read(record)
            if read is None:
                continue
            before, acknowledged = self._states.raised.get(read.name), read.name in self._states.acks
            self._states.take(record.offset, read)
            if isinstance(read, Alert):
                self._deliver(record, read, before, acknowledged=acknowledged)
            elif read.decision == "ack":
                self._withheld.pop(read.name, None)  # somebody knows: it is told of again when it clears
        self._release()
        return []

    def _deliver(self, record: Record, alert: Alert, before: Raised | None, *, acknowledged: bool) -> None:
        """Put an alert into the queues of its targets, unless somebody has decided otherwise."""
        held = self._withheld.pop(alert.name, None)
        # Targets whose place is beyond it have not got it, also if its silence has ended: it is released to all.
        again = self._held_before.get(alert.name) == record.offset
        if alert.state == "cleared":
            if before is None or held is not None:
                return  # nobody was told that it was raised
        elif acknowledged:
            return
        elif again or self._states.silenced(alert.name, self._clock()) is not None:
            if again or before is None or held is not None:
                self._withheld[alert.name] = self._states.raised[alert.name]
            return
        told = _told(alert, before)
        for name in self._targets_of(before.alert if alert.state == "cleared" and before is not None else alert):
            if record.offset >= self._first[name]:
                self._couriers[name].give(Item(self._id(record.offset), [told], record.offset))

    def _targets_of(self, alert: Alert) -> list[str]:
        named = alert.details.get(NOTIFY, "").split()
        return [
            target.name
            for target in self._settings.targets
            if (target.everything or target.name in named) and alert.name != _DEAD + target.name
        ]

    def _id(self, offset: int) -> str:
        """Return the id of an alert's record, the same whenever and by whom it is delivered."""
        text = f"{self._topic} {self._topic_id} {offset}"
        return f"msg_{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    # --- by the clock ------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Output]:
        if not self._couriers:
            return []
        self._release()
        outputs: list[Output] = []
        for alert in self._alerts.remembered(_DEAD):
            if alert.removeprefix(_DEAD) not in self._couriers:
                outputs += self._alerts.clear(alert, now_ms)
        for name, courier in self._couriers.items():
            outputs += self._dead_or_alive(name, courier, now_ms)
            if courier.target.kind == "alertmanager":
                self._tell_again(name, courier, now_ms)
        return outputs

    def _release(self) -> None:
        """Deliver what was first raised during a silence and is still raised, once the silence has ended."""
        for name, (_, waiting) in list(self._releasing.items()):
            if not waiting:
                del self._releasing[name]
        for name, raised in list(self._withheld.items()):
            if self._states.silenced(name, self._clock()) is not None or name in self._releasing:
                continue
            del self._withheld[name]
            targets = set(self._targets_of(raised.alert))
            self._releasing[name] = raised.offset, targets
            for target in [*targets]:
                item = Item(self._id(raised.offset), [_told(raised.alert, raised)], done=_without(targets, target))
                self._couriers[target].give(item)

    def _dead_or_alive(self, name: str, courier: Courier, now_ms: int) -> list[Output]:
        state, alert = courier.state(), _DEAD + name
        if state.failed >= DEAD_AFTER:
            text = (
                f"alerts do not reach {name}: {state.why}; it is tried again for three days, and "
                f"`millstream alerts test {self._settings.names.stream} {name}` tries it now"
            )
            return self._alerts.raise_(alert, "warning", text, now_ms, {"target": name})
        return self._alerts.clear(alert, now_ms) if not state.failed and state.accepted else []

    def _tell_again(self, name: str, courier: Courier, now_ms: int) -> None:
        """Tell an Alertmanager of all that is raised, before it takes it for resolved."""
        if not courier.idle or now_ms < self._told_again.get(name, 0) + _TOLD_AGAIN_MS:
            return
        self._told_again[name] = now_ms
        told = [
            _told(raised.alert, raised)
            for each, raised in self._states.raised.items()
            if name in self._targets_of(raised.alert) and self._states.silenced(each, now_ms) is None
        ]
        if told:
            courier.give(Item("", told, kept=False))

    # --- offsets, shutdown -------------------------------------------------------------------------

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        if self._partition not in read or not self._couriers:
            return {}
        at = read[self._partition]
        places = {name: max(self._first[name], each.place(at)) for name, each in self._couriers.items()}
        self._note.targets = {name: self._target_note(name, place) for name, place in places.items()}
        held = {name: raised.offset for name, raised in self._withheld.items()}
        held |= {name: offset for name, (offset, waiting) in self._releasing.items() if waiting}
        # What is not read again yet: a stop now must not forget it, nor replace it by a finding before it.
        held |= {name: offset for name, offset in self._held_before.items() if offset >= at}
        self._note.withheld = dict([*held.items()][:MOST_WITHHELD])
        self._note.alerts = self._alerts.remembered()
        return {self._partition: CommittedOffset(min(at, *places.values()), self._note.encode())}

    def _target_note(self, name: str, place: int) -> TargetNote:
        before, state = self._before.get(name, TargetNote(0)), self._couriers[name].state()
        return TargetNote(
            place,
            state.failing_since,
            before.delivered + state.delivered,
            before.lost + state.lost,
            before.accepted + state.accepted,
            before.failed + state.failures,
        )

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        for place, committed in places.items():
            self._memory.remember(self._topic, self._topic_id, {place.partition: committed.offset})

    def paused(self) -> frozenset[Partition]:
        return frozenset()

    def stopping(self) -> list[Output]:
        return []

    def close(self) -> None:
        """Stop delivering, and save the topic and the offset read so far."""
        self._end_couriers()
        self._memory.write()

    def _end_couriers(self) -> None:
        for courier in self._couriers.values():
            courier.end()
        self._couriers = {}


def _read(record: Record) -> AlertRecord | None:
    try:
        return read_alert_record(record.value or b"")
    except CodecError:
        return None  # any client can write there


def _told(alert: Alert, raised: Raised | None) -> Told:
    return Told(alert, alert.at, alert.severity) if raised is None else Told(alert, raised.since, raised.alert.severity)


def _without(targets: set[str], target: str) -> Callable[[], None]:
    return lambda: targets.discard(target)
