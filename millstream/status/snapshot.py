"""Snapshot of a running stream from outside: the state of its topics and groups in Kafka."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

from consumers import offset_metadata, roles
from consumers.learner.offset_metadata import LearnerMetadata
from consumers.loop.alerts import raised
from consumers.loop.offset_metadata import OffsetMetadata
from consumers.model.models_topic_state import Known, UnusableRecord
from consumers.roles import Role
from millstream.reading.topic_readers import Counted, count
from millstream.status.processes import clients, crashed
from runtime.kafka_client.client import GroupMember
from runtime.kafka_client.cluster import Cluster, require_sight
from runtime.kafka_client.coordinator import describe_group, patiently
from runtime.kafka_client.records import Partition
from schemas.alerts import Alert, read_alert
from schemas.codec import CodecError
from schemas.model_names import name_of
from schemas.model_updates import Learning, ModelUpdate, Promoted, Published, RolledBack, Serving, read_model_update
from schemas.topics import COMPARED, METRICS, Names

_COUNTED: Final = ("features", "predictions", "labels", "examples", "dead-letters", "alerts")

Place = tuple[str, int]
"""A topic's kind and a partition; an external topic of labels or metrics has `LABELS_FROM` and its name as its kind."""
LABELS_FROM: Final = "from "
MetadataT = TypeVar("MetadataT", bound=OffsetMetadata)


def kinds_read(role: str) -> tuple[str, ...]:
    """Return the kinds of topics that a role's group reads; for whole predictions always `predictions`."""
    return tuple("predictions" if kind == roles.WHOLE else kind for kind in roles.named(role).reads)


def _metric_topics(names: Names) -> dict[str, str]:
    """Return the topics that downstream metrics come from, with what stands for their kinds."""
    own = {names.topic(METRICS): METRICS} if names.takes_metrics else {}
    return own | {topic: LABELS_FROM + topic for topic in names.metrics_from}


@dataclass(frozen=True)
class Commit:
    """A group's committed offset in a partition, and its metadata; `None` if the role did not write it."""

    offset: int
    metadata: OffsetMetadata | None = None

    @property
    def at(self) -> int:
        """Next offset to read: in a learner's replay, below the committed offset."""
        place = self.metadata.at if isinstance(self.metadata, LearnerMetadata) else None
        return self.offset if place is None else min(self.offset, place)


@dataclass(frozen=True)
class StreamSnapshot:
    """State of a stream from which `status`, the end of a run and the demo decide.

    Attributes
    ----------
    at_ms
        Time of the snapshot, in ms since 1970.
    begins, ends
        Offsets of every partition; ends include records of open transactions.
    committed
        Committed offsets by role. A role that never ran has none.
    members
        By role, the number of processes in the group now.
    published
        The newest announcement of the model that serves; `published_by` has that of each model, by its id.
    serving, learning, promoted, rolled_back
        The last decision of a person on serving, that on learning of the stream's own model, the promotion by the rule
        or the guard that holds, and the rollback by an alert rule that holds.
    serves
        Id of the model that serves by the last decision; `None` if the models topic was not read.
    learning_of
        The last decision on learning of each named model, by its id.
    missing
        Kinds of topics that do not exist.
    alerts
        Alerts that are raised and not cleared, oldest first.
    topic_ids
        By kind. A different id means a different topic, even under the same name.
    topics, elsewhere
        Names of topics by kind; of the external ones only.
    labels_from
        External topics that labels come from.
    metrics
        Kinds of the topics that downstream metrics come from; of an external one, `LABELS_FROM` with its name.
    every
        Names of all roles, with those of the stream's named models.
    asked_for
        The optional roles that the stream has.
    processes
        By role, the members of its group.
    crashed
        Names of processes on this machine that are members and do not run any more, such as ``predictor-0``.
    clients
        By role and process, its Kafka client, such as ``librdkafka 2.16.1``; empty if unknown.
    """

    at_ms: int
    begins: Mapping[Place, int]
    ends: Mapping[Place, int]
    committed: Mapping[str, Mapping[Place, Commit]]
    members: Mapping[str, int]
    published: ModelUpdate | None = None
    serving: ModelUpdate | None = None
    learning: ModelUpdate | None = None
    promoted: Promoted | None = None
    rolled_back: RolledBack | None = None
    serves: str | None = None
    published_by: Mapping[str, ModelUpdate] = field(default_factory=dict)
    learning_of: Mapping[str, ModelUpdate] = field(default_factory=dict)
    missing: tuple[str, ...] = field(default=())
    alerts: tuple[Alert, ...] = field(default=())
    topic_ids: Mapping[str, str] = field(default_factory=dict)
    topics: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    labels_from: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    every: tuple[str, ...] = field(default_factory=roles.names_of_all)
    asked_for: tuple[str, ...] = ()
    processes: Mapping[str, Sequence[GroupMember]] = field(default_factory=dict)
    crashed: tuple[str, ...] = ()
    clients: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, ...]:
        """Roles of the stream, those of its named models among them."""
        return tuple(name for name in self.every if self._has(roles.named(name)))

    def _has(self, role: Role) -> bool:
        if role.can_be_left_out:
            return bool(self.committed.get(role.name) or self.members.get(role.name))
        return not role.optional or role.name in self.asked_for

    def is_paused(self, role: str) -> bool:
        """Return whether learning of a learner's model is paused by the last decision."""
        name = roles.model_of_role(role)
        by_name = {name_of(of): update for of, update in self.learning_of.items()}
        update = by_name.get(name) if name else self.learning
        return update is not None and isinstance(update.state, Learning) and update.state.paused

    def inputs(self, role: str) -> tuple[str, ...]:
        """Return the kinds of topics that a role's group reads."""
        row = roles.named(role)
        labels = tuple(LABELS_FROM + topic for topic in self.labels_from) if row.reads_label_topics else ()
        return (*kinds_read(role), *labels, *(self.metrics if row.reads_metric_topics else ()))

    def lag(self, role: str) -> int:
        """Return the number of unread offsets in all inputs of `role`."""
        return sum(self.lag_of(role, kind) for kind in self.inputs(role))

    def lag_of(self, role: str, kind: str) -> int:
        """Return the number of unread offsets in one input of `role`."""
        commits, total = self.committed.get(role, {}), 0
        for place, end in self.ends.items():
            # The log is one partition; no role reads partitions that were added to its topic.
            if place[0] == kind and (kind != "examples" or place[1] == 0):
                done = commits[place].at if place in commits else self.begins[place]
                total += max(0, end - max(done, self.begins[place]))
        return total

    def beside(self, kind: type[MetadataT]) -> list[MetadataT]:
        """Return the offset metadata of this class."""
        return [each for each in self.metadata(kind.role) if isinstance(each, kind)]

    def metadata(self, role: str) -> list[OffsetMetadata]:
        """Return the offset metadata of `role` without duplicates: a joiner writes the same for both its inputs."""
        commits, inputs = self.committed.get(role, {}), self.inputs(role)
        places = sorted(place for place, commit in commits.items() if place[0] in inputs)
        found = [(place, metadata) for place in places if (metadata := commits[place].metadata) is not None]
        if found and found[0][1].by_topic:
            return [metadata for _, metadata in found]
        # One of the inputs may have more partitions than the other.
        return list({number: metadata for (_, number), metadata in found}.values())

    def moved(self) -> object:
        """Return a value that is equal for two snapshots if no event, label or example moved between them.

        The joiner's ticks on labels do not count: they continue while an event waits for its label.
        """
        ends = {place: end for place, end in self.ends.items() if place[0] != "labels"}
        every = self.every
        lags = [self.lag(role) for role in every if "labels" not in kinds_read(role)]
        return ends, lags, {role: [each.but_for_clocks() for each in self.metadata(role)] for role in every}


class Observer:
    """Takes snapshots of one stream; holds a reader and an admin client between them.

    Parameters
    ----------
    state
        Folder of the stream's local state, which tells of crashed processes; without it none is known to have crashed.

    Examples
    --------
    with Observer(cluster, names) as observer:
        snapshot = observer.look()
    """

    def __init__(self, cluster: Cluster, names: Names, state: Path | None = None) -> None:
        self._cluster = cluster
        self._state = state
        self._names = names
        self._counted = _counted(names)
        self._stack = ExitStack()
        self._admin = self._stack.enter_context(cluster.admin())
        self._ends = cluster.consumer(isolation_level="read_uncommitted")
        self._stack.callback(self._ends.close)
        self._states = cluster.consumer()
        self._read_to: dict[Partition, int] = {}
        self._stack.callback(self._states.close)
        self._known = Known()
        self._published: dict[str, ModelUpdate] = {}
        self._learning: dict[str, ModelUpdate] = {}
        self._serving: ModelUpdate | None = None
        self._raised: tuple[Alert, ...] = ()
        self._partitions: list[Partition] = []
        self._topic_ids: dict[str, str] = {}

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close both clients."""
        self._stack.close()

    def look(self) -> StreamSnapshot:
        """Return a snapshot of the stream.

        Raises
        ------
        KafkaError
            If the cluster does not answer.
        """
        kinds = self._find()
        # Groups before ends, so that records written in between count as lag and are not missed.
        names = self._names
        every = tuple(role.name for role in roles.of_models(names) if not role.beside or role.runs_for(names))
        committed = {role: self._committed(role) for role in every}
        read = {place for places in committed.values() for place in places if not place[0].startswith(LABELS_FROM)}
        if not read <= {*kinds.values()}:
            self._partitions = []  # partitions have been added: look them up again
            kinds = self._find()
        others = self._find_others()
        found = sorted({*kinds, *others})
        ends = self._ends.end_offsets(found) if found else {}
        begins = self._ends.beginning_offsets(found) if found else {}
        self._read_states()
        processes = {role: self._members(role) for role in every}
        there = {kind for kind, _ in kinds.values()}
        places = [*kinds.items(), *others.items()]  # one topic may have both features and labels
        return StreamSnapshot(
            at_ms=time.time_ns() // 1_000_000,
            begins={place: begins[each] for each, place in places},
            ends={place: ends[each] for each, place in places},
            committed=committed,
            members={role: len(members) for role, members in processes.items()},
            published=self._published.get(self._known.serves(self._names.stream, 0)),
            serving=self._serving,
            learning=self._learning.get(""),
            promoted=self._known.promoted(0),
            rolled_back=self._known.rolled_back(0),
            serves=self._known.serves(self._names.stream, 0),
            published_by=dict(self._published),
            learning_of={model: update for model, update in self._learning.items() if model},
            missing=tuple(kind for kind in self._counted if kind not in there),
            alerts=self._raised,
            topic_ids=self._topic_ids,
            topics={kind: self._topic(kind) for kind in self._counted},
            elsewhere=self._names.elsewhere,
            labels_from=self._names.labels_from,
            metrics=tuple(_metric_topics(self._names).values()),
            every=every,
            asked_for=tuple(role.name for role in roles.of_stream(self._names) if role.optional),
            processes=processes,
            crashed=() if self._state is None else crashed(processes, self._names, self._state),
            clients={role: clients(role, members, self._names) for role, members in processes.items()},
        )

    def dead_letters(self) -> Counted:
        """Return the count of dead letters, or a lower bound: only the end of the topic is read."""
        return count(self._cluster, self._names, "dead-letters")

    def _find(self) -> dict[Partition, Place]:
        """Return the partitions of the existing topics; they are looked up each time until all topics exist."""
        if not self._partitions:
            kinds = {self._topic(kind): kind for kind in self._counted}
            described = self._admin.describe_topics(list(kinds))
            self._topic_ids = {kinds[topic.name]: topic.id for topic in described if topic.exists}
            require_sight(described)
            found = [Partition(topic.name, number) for topic in described if topic.exists for number in topic.leaders]
            if {each.topic for each in found} < set(kinds):
                return {each: (kinds[each.topic], each.partition) for each in found}
            self._partitions = found
        return {each: (self._kind(each.topic), each.partition) for each in self._partitions}

    def _find_others(self) -> dict[Partition, Place]:
        """Return the partitions of the external topics that labels and metrics come from."""
        wanted = list(dict.fromkeys((*self._names.labels_from, *self._names.metrics_from)))
        described = self._admin.describe_topics(wanted) if wanted else []
        require_sight(described)
        there = [topic for topic in described if topic.exists]
        self._topic_ids |= {LABELS_FROM + topic.name: topic.id for topic in there}
        numbered = [(topic.name, number) for topic in there for number in topic.leaders]
        return {Partition(name, number): (LABELS_FROM + name, number) for name, number in numbered}

    def _topic(self, kind: str) -> str:
        """Return the topic of a kind; for predictions the topic of whole ones, which is the joiner's input."""
        return self._names.whole if kind == "predictions" else self._names.topic(kind)

    def _kind(self, topic: str) -> str:
        return "predictions" if topic == self._names.whole else self._names.kind(topic)

    def _committed(self, role: str) -> dict[Place, Commit]:
        kinds = {self._topic(kind): kind for kind in kinds_read(role)}
        if roles.named(role).reads_label_topics:
            kinds |= {topic: LABELS_FROM + topic for topic in self._names.labels_from}
        if roles.named(role).reads_metric_topics:
            kinds |= _metric_topics(self._names)
        if not kinds:
            return {}
        group = self._names.group(role)
        found = patiently(lambda: self._admin.list_group_offsets(group))
        return {
            (kinds[place.topic], place.partition): Commit(data.offset, offset_metadata.read(role, data.metadata or ""))
            for place, data in found.items()
            # A group also has offsets in topics that the stream read earlier.
            if place.topic in kinds
        }

    def _members(self, role: str) -> Sequence[GroupMember]:
        if roles.named(role).on_demand:
            return ()  # it is in no group
        return describe_group(self._admin, self._names.group(role)).members

    def _read_states(self) -> None:
        """Read new records of the models topic and the alerts topic."""
        places = {Partition(self._names.topic(kind), 0) for kind in ("models", "alerts")}
        consumer = self._states
        if self._read_to.keys() != places:
            topics = consumer.topics()
            places = {place for place in places if place.topic in topics}
            if not places:
                return
            self._read_to = consumer.beginning_offsets(sorted(places))
            self._raised = ()
            self._known = Known()
        ends = consumer.end_offsets(sorted(places))
        consumer.assign(sorted(places))
        for place, offset in self._read_to.items():
            consumer.seek(place, offset)
        while any(consumer.position(place) < end for place, end in ends.items()):
            for place, records in consumer.poll(timeout_ms=200).items():
                for record in records:
                    self._take_state(self._kind(place.topic), record.key, record.value or b"")
        self._read_to = {place: consumer.position(place) for place in ends}
        consumer.assign(())  # else librdkafka fetches on until the next look

    def _take_state(self, kind: str, key: bytes | None, value: bytes) -> None:
        try:
            if kind == "alerts":
                self._raised = tuple(raised([*self._raised, read_alert(value)]))
                return
            if not self._known.take(key, value):
                return
            update = read_model_update(value)
            state = update.state
            if isinstance(state, Published):
                self._published[state.model] = update
            elif isinstance(state, Learning):
                self._learning[state.model] = update
            elif isinstance(state, Serving):
                self._serving = update
        except (CodecError, UnusableRecord):
            pass  # an invalid record; the roles that read the topic report it


def _counted(names: Names) -> tuple[str, ...]:
    """Return the kinds of topics whose ends are read: those that are counted, and those that its roles read."""
    read = (kind for role in roles.names_of_all() for kind in kinds_read(role))
    own = (METRICS,) if names.takes_metrics else ()
    return tuple(dict.fromkeys(kind for kind in (*_COUNTED, *read, *own) if kind not in COMPARED or names.models))
