"""Recovery of a joiner's partition: the offsets to continue from and the state that belongs to them.

The local store holds what waits. If it is behind the committed offsets, the joiner reads the difference without
emitting. If it is gone, or belongs to another history, a snapshot replaces it. If no snapshot fits, the state is
rebuilt from the topics. If continuing would lose or repeat records, the joiner refuses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from consumers.joiner.join import JoinRules, JoinState
from consumers.joiner.local_store import LocalStore
from consumers.joiner.offset_metadata import KINDS, JoinerMetadata, LocalPlace, meta_key, read_local
from consumers.joiner.snapshots import Snapshots, StoreSnapshot
from consumers.loop.log_faults import LogFault, LogRefused, fault_of, short_ids, way
from consumers.loop.processor import Assignment, Start
from consumers.roles import JOINER
from model_store import Damaged, StoreError
from runtime.exits import RoleRefused
from runtime.kafka_client.records import CommittedOffset, Partition

_AT_ONCE: Final = 10_000  # entries that are deleted between two pauses
_Pair = tuple[Partition, Partition]


@dataclass(frozen=True)
class Taken:
    """A partition taken over: its metadata, its state, and the offsets to read from."""

    place: JoinerMetadata
    state: JoinState
    starts: Mapping[Partition, Start]


@dataclass(frozen=True)
class _Target:
    """The offsets to continue from and the committed ones: equal unless the log has changed."""

    pair: _Pair
    offsets: tuple[int, int]
    stood: tuple[int, int]


@dataclass(frozen=True)
class JoinerTakeover:
    """Takes partitions over, one after the other.

    Attributes
    ----------
    topics
        Predictions and labels.
    new_epoch
        The operator has decided to continue although the log has changed.
    snapshots
        `None` if snapshots are off.
    role
        The role that joins.
    first_labels
        Returns the offset at which a new lane begins to read a partition of labels, because older ones can match
        nothing; `None` for its end. Without the function it begins at the beginning.
    """

    group: str
    topics: tuple[str, str]
    rules: JoinRules
    new_epoch: bool
    store: LocalStore
    snapshots: Snapshots | None
    say: Callable[[str], None]
    role: str = JOINER
    first_labels: Callable[[Partition], int | None] | None = None

    def take(self, number: int, assignment: Assignment) -> Taken:
        """Take one partition of both topics.

        Raises
        ------
        RoleRefused
            If continuing would lose or repeat something; the message names the choices.
        """
        pair = Partition(self.topics[0], number), Partition(self.topics[1], number)
        if not all(partition in assignment.committed for partition in pair):
            kind = "predictions" if self.role == JOINER else self.topics[0].rpartition(".")[2]
            raise RoleRefused(
                f"partition {number} of {kind} and of labels went to different {self.role}s: {self.topics[0]} and "
                f"{self.topics[1]} must have equally many partitions for several {self.role}s. `millstream topics "
                f"create STREAM --fix` adds those that are missing; or run one {self.role}"
            )
        places = self._remembered(number, [assignment.committed[partition] for partition in pair])
        faults = self._faults(pair, places, assignment)
        self._judge(faults)
        committed = self._agreed(number, places)
        if committed is None or any(fault.state == "recreated" for fault in faults):
            return self._begin(number, pair, places, assignment, faults)
        stood = [place.offset for place in places if place is not None]
        live = [_within(assignment, partition, offset) for partition, offset in zip(pair, stood, strict=True)]
        return self._resume(committed, _Target(pair, (live[0], live[1]), (stood[0], stood[1])), assignment)

    def spread(self, assignment: Assignment) -> int:
        """Return the number of partitions that event ids are spread over, from the metadata; 0 if it has none.

        The number must never change: an id's prediction and label would be on two partitions if one came before the
        change and the other after it.
        """
        places = {**assignment.others, **assignment.committed}.values()
        noted = [JoinerMetadata.decode(place.metadata) for place in places if place is not None]
        if not any(noted):
            found = (self._local(number) for number in sorted({each.partition for each in assignment.committed}))
            noted = [local.place for local in found if local is not None and local.group == self.group]
        predictions = short_ids(assignment.topic_ids[self.topics[0]])
        return max((each.spread for each in noted if each is not None and each.each[0] == predictions), default=0)

    def take_beyond(
        self, number: int, spread: int, assignment: Assignment
    ) -> tuple[JoinerMetadata, Mapping[Partition, Start]]:
        """Take a partition without event ids, of the topics that have it; nothing waits there.

        Raises
        ------
        LogRefused
            If labels would be lost.
        """
        ids = [assignment.topic_ids[topic] for topic in self.topics]
        each, both = (short_ids(ids[0]), short_ids(ids[1])), short_ids(*ids)
        mine = {at: place for at, place in sorted(assignment.committed.items()) if at.partition == number}
        place = JoinerMetadata(0, both, both, {}, each=each, spread=spread)
        starts, faults = {}, []
        for at, stood in mine.items():
            known = None if stood is None else JoinerMetadata.decode(stood.metadata)
            beginning, end = assignment.beginnings[at], assignment.ends[at]
            starts[at] = Start(beginning if stood is None else stood.offset)
            fault = None if stood is None else fault_of(self.role, at, stood.offset, beginning, end)
            which = self.topics.index(at.topic)
            if known is not None and known.each[which] != each[which]:
                fault = LogFault(self.role, "recreated", *at, None if stood is None else stood.offset, beginning, end)
            if fault is not None:
                faults.append(fault)
                starts[at] = Start(fault.onward, back=True)
            if known is not None and known.each[1] == each[1]:
                place.counts = dict(known.counts)
        self._judge(faults)
        return place, starts

    def _judge(self, faults: list[LogFault]) -> None:
        """Raise LogRefused if the log has changed, unless the operator has decided to continue."""
        if faults and not self.new_epoch:
            raise LogRefused(faults, way(self.role))
        for fault in faults:
            self.say(f"{fault}. Continuing because of --new-epoch")

    def _remembered(self, number: int, places: list[CommittedOffset | None]) -> list[CommittedOffset | None]:
        """Return the committed places, or the local store's if Kafka has forgotten both.

        Kafka forgets them when a topic is deleted, and a week after the group ended.
        """
        local = self._local(number)
        if places != [None, None] or local is None or local.group != self.group:
            return places
        metadata = local.place.encode()
        return [CommittedOffset(offset, metadata) for offset in local.offsets]

    # --- changes of the topics ---------------------------------------------------------------------

    def _faults(self, pair: _Pair, places: list[CommittedOffset | None], assignment: Assignment) -> list[LogFault]:
        known = next((JoinerMetadata.decode(place.metadata) for place in places if place is not None), None)
        faults = []
        for which, (partition, place) in enumerate(zip(pair, places, strict=True)):
            beginning, end = assignment.beginnings[partition], assignment.ends[partition]
            if known is not None and self._is_another(which, known, places, assignment):
                offset = None if place is None else place.offset
                faults.append(LogFault(self.role, "recreated", *partition, offset, beginning, end))
            elif place is not None:
                fault = fault_of(self.role, partition, place.offset, beginning, end)
                faults += [fault] if fault else []
        return faults

    def _is_another(
        self, which: int, known: JoinerMetadata, places: list[CommittedOffset | None], assignment: Assignment
    ) -> bool:
        ids = [assignment.topic_ids[topic] for topic in self.topics]
        if known.ids == short_ids(*ids):
            return False
        if known.each[which]:
            return known.each[which] != short_ids(ids[which])
        # Metadata older than the field `each` has only the joint id: the topic without a committed place is the changed
        # one.
        return places[which] is None or None not in places

    def _agreed(self, number: int, places: list[CommittedOffset | None]) -> JoinerMetadata | None:
        """Return the metadata of both offsets, which were committed together and must be equal."""
        if places == [None, None] or (None in places and self.new_epoch):
            return None
        texts = {"" if place is None else place.metadata for place in places}
        if len(texts) == 1 and texts != {""} and (place := JoinerMetadata.decode(texts.pop())) is not None:
            return place
        if self.new_epoch:
            return None
        raise RoleRefused(
            f"the {self.role}'s committed places in partition {number} do not belong together; {way(self.role)}"
        )

    # --- beginning a lane --------------------------------------------------------------------------

    def _begin(
        self,
        number: int,
        pair: _Pair,
        places: list[CommittedOffset | None],
        assignment: Assignment,
        faults: list[LogFault],
    ) -> Taken:
        """Begin a lane. Its epoch is derived from the topics' ids, so that beginning the same lane twice is noticed.

        Records that were read before are not read again: their examples are on the log and would be learned twice.
        """
        ids = [assignment.topic_ids[topic] for topic in self.topics]
        both = short_ids(*ids)
        self._wipe(number, assignment)
        gone = {fault.topic for fault in faults if fault.state == "recreated"}
        live = {
            partition: self._beginning(partition, assignment)
            if place is None or partition.topic in gone
            else _within(assignment, partition, place.offset)
            for partition, place in zip(pair, places, strict=True)
        }
        epoch = both
        if self.new_epoch:
            epoch += "-" + hashlib.sha256(repr((both, list(live.values()))).encode()).hexdigest()[:8]
        each = short_ids(ids[0]), short_ids(ids[1])
        place = JoinerMetadata(0, epoch, both, {}, each=each, begin=(live[pair[0]], live[pair[1]]))
        starts = {partition: Start(live=offset, back=self.new_epoch) for partition, offset in live.items()}
        return Taken(place, JoinState(), starts)

    def _beginning(self, partition: Partition, assignment: Assignment) -> int:
        beginning = assignment.beginnings[partition]
        if self.first_labels is None or partition.topic != self.topics[1]:
            return beginning
        first = self.first_labels(partition)
        return assignment.ends[partition] if first is None else max(first, beginning)

    # --- resuming a lane ---------------------------------------------------------------------------

    def _resume(self, place: JoinerMetadata, target: _Target, assignment: Assignment) -> Taken:
        ids = [short_ids(assignment.topic_ids[topic]) for topic in self.topics]
        place.each = (ids[0], ids[1])
        # In a topic that was cut short, new records take offsets that were already examined.
        place.examined = min(place.examined, target.offsets[0])
        number = target.pair[0].partition
        local = self._local(number)
        if local is not None and (why := self._unfit(local, place, target, assignment)):
            self.say(f"the local store of partition {number} is not used: {why}")
            local = None
        local = local or self._restored(number, place, target, assignment)
        if local is not None:
            state = replace(local.state, counts=dict(place.counts))
            starts = {
                partition: Start(live, max(behind, assignment.beginnings[partition]), back=live < stood)
                for partition, live, behind, stood in zip(
                    target.pair, target.offsets, local.offsets, target.stood, strict=True
                )
            }
            return Taken(place, state, starts)
        self._wipe(number, assignment)
        since = max(0, min(place.clock) - self.rules.read_again)
        if place.oldest:
            since = min(since, place.oldest)  # after an outage many expired waits have not been ended yet
        starts = {
            # A new lane does not read records before its beginning: the previous lane may have joined them.
            partition: Start(live, recover_since=since, least=least, back=live < stood)
            for partition, live, least, stood in zip(
                target.pair, target.offsets, place.begin, target.stood, strict=True
            )
        }
        return Taken(place, JoinState(counts=dict(place.counts)), starts)

    def _unfit(self, local: LocalPlace, place: JoinerMetadata, target: _Target, assignment: Assignment) -> str:
        """Return the reason why a local state cannot catch up; empty if it can."""
        if local.group != self.group:
            return f"it is of group {local.group}"
        if local.place.ids != place.ids:
            return "it is of other topics"
        if local.epoch != place.epoch:
            return "it is of another lane"
        for partition, mine, theirs, stood in zip(
            target.pair, local.offsets, target.offsets, target.stood, strict=True
        ):
            where = f"{partition.topic}[{partition.partition}]"
            if mine > theirs:
                return f"it is at {mine} in {where}, ahead of the committed {theirs}"
            if mine < assignment.beginnings[partition] and mine != stood:
                return f"it is at {mine} in {where}, before the first kept offset"
        return "" if local.place.seq <= place.seq else "it has emitted more than is on the log"

    def _restored(
        self, number: int, place: JoinerMetadata, target: _Target, assignment: Assignment
    ) -> LocalPlace | None:
        """Load the newest snapshot that fits; report each unusable one and try the next."""
        if self.snapshots is None:
            return None
        try:
            for found in self.snapshots.newest_first(number):
                why = (
                    str(found)
                    if isinstance(found, Damaged)
                    else self._unfit(found.local, place, target, assignment) or self._load(number, found, assignment)
                )
                if not isinstance(found, Damaged) and not why:
                    self.say(f"partition {number} goes on from snapshot {found.id}: {found.entries} entries")
                    return found.local
                self.say(f"a snapshot of partition {number} is passed over: {why}")
        except StoreError as error:
            self.say(f"the snapshots of partition {number} cannot be read: {error}")
        self.say(f"partition {number} is read from the topics again")
        return None

    def _load(self, number: int, snapshot: StoreSnapshot, assignment: Assignment) -> str:
        """Load a snapshot; return the reason if that fails, else an empty text."""
        assert self.snapshots is not None  # noqa: S101
        self._wipe(number, assignment)
        try:
            self.snapshots.load(snapshot, self.store, assignment.breathe)
        except StoreError as error:
            return str(error)
        return ""

    # --- the local store ---------------------------------------------------------------------------

    def _local(self, number: int) -> LocalPlace | None:
        raw = self.store.get(meta_key(number))
        return None if raw is None else read_local(raw)

    def _wipe(self, number: int, assignment: Assignment) -> None:
        place = number.to_bytes(2, "big")
        self.store.delete(meta_key(number))
        for kind in KINDS:
            while keys := [
                key for (key, _), _ in zip(self.store.scan(kind + place, kind + place), range(_AT_ONCE), strict=False)
            ]:
                self.store.clear(keys)
                assignment.breathe()


def _within(assignment: Assignment, partition: Partition, offset: int) -> int:
    return min(max(offset, assignment.beginnings[partition]), assignment.ends[partition])
