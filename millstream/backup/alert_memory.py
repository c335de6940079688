"""Memory of alerts beside their topic: taken into a backup, and fitted to the restored topic.

The monitor, the notifier and the trainer keep it in the metadata of their committed offsets. Other roles begin without
theirs after a restore, so nobody would ever clear an alert that they had raised: the restore clears it. A role whose
trouble lasts raises it again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from consumers.loop.alert_states import AlertStates, Raised
from consumers.monitor.offset_metadata import MonitorMetadata
from consumers.monitor.rules.rule import ROLE_PREFIX
from consumers.monitor.rules.state import RulesState, RuleState
from consumers.notifier.offset_metadata import NotifierMetadata
from consumers.roles import MONITOR, NOTIFIER, TRAINER
from consumers.trainer.alerts import FAILED
from consumers.trainer.offset_metadata import TrainerMetadata
from millstream.backup.offset_preserving_writer import LogRecord
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.coordinator import patiently
from runtime.kafka_client.records import CommittedOffset, Partition
from schemas.alerts import Alert, read_alert_record
from schemas.codec import CodecError
from schemas.topics import PROFILES, Names

_RULE = "rule"
"""Detail that only alerts of rules have."""
_CLEARED = "the stream was restored from a backup; it is raised again if it still holds"


class AlertMemory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Memory of a stream's roles.

    Attributes
    ----------
    rules
        What the monitor's rules remember, as `RulesState`; empty if no monitor has committed.
    notifier
        Metadata of the notifier's committed offset, as `NotifierMetadata`; empty if no notifier has committed.
    place
        That offset on the alerts topic.
    trainer
        Metadata of the trainer's committed offset, as `TrainerMetadata`; empty if no trainer has committed.
    """

    rules: str = ""
    notifier: str = ""
    place: int = 0
    trainer: str = ""


def remembered(cluster: Cluster, names: Names) -> AlertMemory:
    """Return the memory of a stream's roles.

    It is read before the topics: an alert that is raised meanwhile is then one that nobody was told of.
    """
    with cluster.admin() as admin:
        watched = patiently(lambda: admin.list_group_offsets(names.group(MONITOR)))
        told = patiently(lambda: admin.list_group_offsets(names.group(NOTIFIER)))
        trained = patiently(lambda: admin.list_group_offsets(names.group(TRAINER)))
    judged = watched.get(Partition(names.topic(PROFILES), 0))
    note = None if judged is None else MonitorMetadata.decode(judged.metadata)
    delivered = told.get(Partition(names.topic("alerts"), 0), CommittedOffset(0, ""))
    trainer = trained.get(Partition(names.topic("jobs"), 0), CommittedOffset(0, ""))
    rules = "" if note is None else note.judged
    return AlertMemory(rules, delivered.metadata, delivered.offset, trainer.metadata)


class Fitted(NamedTuple):
    """What follows from the records of a backed-up alerts topic.

    Attributes
    ----------
    cleared
        Alerts to write after the records.
    rules
        Memory of the rules that agrees with the records, as `RulesState`.
    notifier
        Offset and metadata of the notifier on a topic that holds exactly these records; `None` if it had none.
    trainer
        Metadata of the trainer, `None` if it had none.
    """

    cleared: Sequence[Alert]
    rules: str
    notifier: tuple[int, NotifierMetadata] | None
    trainer: TrainerMetadata | None = None


def fitted(memory: AlertMemory, records: Sequence[LogRecord], now_ms: int) -> Fitted:
    """Fit the memory to the records of the alerts topic, which get the offsets from 0 on.

    The records were read after the memory, so that they can hold alerts that it does not know, or knows as raised.
    """
    states = AlertStates()
    for record in records:
        try:
            states.take(record.offset, read_alert_record(record.value or b""))
        except CodecError:
            continue  # any client can write there
    notifier = _notifier(memory, [record.offset for record in records])
    own = set() if notifier is None else {*notifier[1].alerts}
    trainer = _trainer(memory, states.raised)
    own |= set() if trainer is None else {*trainer.alerts}
    lost = [name for name, raised in states.raised.items() if not _is_of_rule(raised) and name not in own]
    cleared = [Alert(name, "info", "cleared", _CLEARED, now_ms, {}) for name in lost]
    return Fitted(cleared, _rules(memory.rules, states.raised), notifier, trainer)


def _is_of_rule(raised: Raised) -> bool:
    return raised.alert.name.startswith(ROLE_PREFIX) and _RULE in raised.alert.details


def _rules(text: str, raised: Mapping[str, Raised]) -> str:
    state = RulesState.decode(text)
    standing = {name.removeprefix(ROLE_PREFIX): each for name, each in raised.items() if _is_of_rule(each)}
    rules = {name: each for name, each in state.rules.items() if not each.raised or name in standing}
    for name, each in standing.items():
        if name not in rules or not rules[name].raised:
            rules[name] = RuleState(raised=each.since // 1000, told=each.alert.at // 1000)
    return msgspec.structs.replace(state, rules=rules).encode()


def _notifier(memory: AlertMemory, offsets: Sequence[int]) -> tuple[int, NotifierMetadata] | None:
    note = NotifierMetadata.decode(memory.notifier) if memory.notifier else None
    if note is None:
        return None
    targets = {
        name: msgspec.structs.replace(each, place=bisect_left(offsets, each.place))
        for name, each in note.targets.items()
    }
    withheld = {name: bisect_left(offsets, offset) for name, offset in note.withheld.items()}
    fit = msgspec.structs.replace(note, topic_id="", gone=0, begun=0, targets=targets, withheld=withheld)
    return bisect_left(offsets, memory.place), fit


def _trainer(memory: AlertMemory, raised: Mapping[str, Raised]) -> TrainerMetadata | None:
    note = TrainerMetadata.decode(memory.trainer) if memory.trainer else None
    if note is None:
        return None
    failed = [name for name in raised if name.startswith(FAILED)]
    # The jobs topic has what it worked on; what it wrote last may be behind the copy of that topic.
    return msgspec.structs.replace(note, topic_id="", gone=0, begun=0, written=None, working=None, alerts=failed)
