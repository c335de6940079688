"""Forwarder: sends the spool's entries in order, and its place with them, in transactions.

The place is the committed offset of a group of its own, on a partition that the stream always has; the metadata holds
the place in each lane. If anything is in doubt, the process ends, and the next one continues from the committed place:
opening the same transactional id settles the transaction whose outcome was unknown.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from consumers.loop.alerts import Alerts
from consumers.loop.instrumentation import Meter
from consumers.roles import FORWARDER, WHOLE
from runtime.exits import RoleRefused
from runtime.failpoints import failpoint
from runtime.kafka_client.client import GroupMetadata
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import NotAuthorizedError
from runtime.kafka_client.records import CommittedOffset, Output, Partition
from runtime.kafka_client.transaction import TransactionLimits, Transactions
from schemas.topics import Names
from server.forwarder.last_transaction import is_on_kafka
from server.forwarder.offset_metadata import ForwarderMetadata
from server.spool.entries import Entry
from server.spool.folder import Forwarded, SpoolFolder, hold
from server.spool.segments import LaneReader

_BEFORE_NOTE: Final = failpoint("forwarder.note.before")
_AFTER_NOTE: Final = failpoint("forwarder.note.after")
_BEFORE_DELETE: Final = failpoint("forwarder.delete.before")
_READ_BYTES: Final = 2 << 20
_new: Final = tuple.__new__  # builds a NamedTuple in half the time
_SHORTEST_WAIT_S: Final = 0.005
_MANY: Final = 100  # entries of one turn, from which on the next ones are gathered
# Kafka deletes the offsets of a group without members after a week by default.
_RECOMMIT_S: Final = 3600.0
FLUSH_S: Final = 10.0
"""Seconds for which a forwarder that was told to stop still forwards what is in the spool."""
_AGE_ALERT: Final = f"{FORWARDER}.age"


@dataclass(frozen=True)
class ForwarderSettings:
    """Settings of a forwarder.

    Attributes
    ----------
    spool
        Folder of the spool.
    old_ms
        Age of the oldest entry from which on an alert is raised; 0 for none.
    longest_wait_s
        Longest time between two looks at an idle spool.
    gather_s
        Least time from one transaction of many entries to the next, unless callers wait for the commit: a transaction
        costs as much as some dozens of entries.
    """

    names: Names
    instance: str
    spool: Path
    old_ms: int = 0
    longest_wait_s: float = 0.05
    gather_s: float = 0.1
    limits: TransactionLimits | None = None


class Forwarder:
    """Forwards one spool.

    Parameters
    ----------
    clock
        Wall clock, ms.

    Raises
    ------
    SpoolInUse
        If another forwarder on this machine has the spool.
    """

    def __init__(
        self,
        cluster: Cluster,
        settings: ForwarderSettings,
        say: Callable[[str], None] = print,
        meter: Meter | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._cluster, self._settings, self._say = cluster, settings, say
        self._meter = meter or Meter()
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._folder = SpoolFolder(settings.spool)
        self._lock = hold(settings.spool / "forwarder.lock", "another forwarder")
        names = settings.names
        self._group = group(names, settings.instance)
        self._place = Partition(names.topic("alerts"), 0)
        self._transactions = Transactions(cluster, names.process(FORWARDER, settings.instance), settings.limits)
        self._alerts = Alerts(names, say)
        self._topics = _Topics(names)
        self._readers: dict[int, LaneReader] = {}
        self._done: dict[int, int] = {}
        self._newest_ms = 0
        self._committed_at = 0.0
        self.stop = threading.Event()

    def open(self) -> int:
        """End an earlier process's open transaction, and find the place; return the number of entries forwarded so far.

        Raises
        ------
        RoleRefused
            If a forwarder of another spool uses this instance name.
        """
        self._transactions.open()
        with closing(self._cluster.consumer(group_id=self._group)) as consumer:
            committed = consumer.committed(self._place, timeout_ms=10_000)
        noted = self._folder.forwarded()
        said = None if committed is None else ForwarderMetadata.decode(committed.metadata)
        if said is not None and said.spool == self._folder.id:
            self._done, self._newest_ms = dict(said.lanes), said.at_ms
            self._alerts.restore(said.alerts)
        elif said is not None and said.spool and noted is not None:
            raise RoleRefused(
                f"the forwarder of another spool, {said.spool}, uses the name {self._settings.instance} too: give the "
                "forwarder of each machine its own --instance"
            )
        else:
            self._done = self._from_note(noted)
        self._note(self._done, self._done)
        return sum(self._done.values())

    def _from_note(self, noted: Forwarded | None) -> dict[int, int]:
        """Return the place by the note, for a group whose offset Kafka has deleted, or that never committed."""
        if noted is None:
            return {}
        if noted.intended != noted.done and self._was_committed(noted):
            return dict(noted.intended)
        return dict(noted.done)

    def _was_committed(self, noted: Forwarded) -> bool:
        """Return whether the entries of the last transaction, whose outcome is unknown, are on Kafka."""
        count = sum(noted.intended.values()) - sum(noted.done.values())
        said = f"Kafka has deleted the place of {self._group}, and the last transaction's outcome is not known"
        outputs: list[Output] = []
        for number, end in noted.intended.items():
            reader = LaneReader(self._folder.lane(number), noted.done.get(number, 0))
            while reader.next < end and (entries := reader.read(_READ_BYTES)):
                surplus = max(0, reader.next - end)
                entries = entries[: len(entries) - surplus]
                outputs += self._outputs(entries)
        try:
            found = is_on_kafka(self._cluster, outputs, noted.at_ms)
        except NotAuthorizedError as error:
            self._say(f"{said}: {count} entries are sent again and may be there twice ({error})")
            return False
        self._say(f"{said}: its {count} entries " + ("are on Kafka" if found else "are not on Kafka and are sent"))
        return found

    def run(self) -> None:
        """Forward until `stop` is set; then what is in the spool, for at most `FLUSH_S`."""
        wait = _SHORTEST_WAIT_S
        until: float | None = None
        while True:
            self._meter.turned()
            if until is None and self.stop.is_set():
                until = time.monotonic() + FLUSH_S
            if until is not None and time.monotonic() >= until:
                return
            began = time.monotonic()
            if entries := self.turn():
                wait = _SHORTEST_WAIT_S
                if entries >= _MANY and not self._folder.callers_wait():
                    self.stop.wait(max(0.0, began + self._settings.gather_s - time.monotonic()))
                continue
            if self.stop.wait(wait):
                return
            wait = min(2 * wait, self._settings.longest_wait_s)

    def waiting(self) -> int:
        """Return how many entries are in the spool and not on Kafka."""
        return self._folder.waiting(self._done)

    def turn(self) -> int:
        """Forward what there is, up to a few megabytes; return the number of entries."""
        found = self._read()
        entries = [entry for some in found.values() for entry in some]
        if not entries and time.monotonic() - self._committed_at < _RECOMMIT_S:
            return 0
        now = self._clock()
        age = now - min((entry.at_ms for entry in entries), default=now)
        outputs = self._outputs(entries)
        outputs += self._told_of_age(age, now)
        intended = {**self._done, **{lane: self._readers[lane].next for lane in found}}
        self._newest_ms = max([self._newest_ms, *(entry.at_ms for entry in entries)])
        _BEFORE_NOTE()
        self._note(intended, self._done)
        metadata = ForwarderMetadata(
            spool=self._folder.id, lanes=intended, at_ms=self._newest_ms, alerts=self._alerts.remembered()
        )
        places = {self._place: CommittedOffset(metadata.done(), metadata.encode())}
        began = time.monotonic()
        self._transactions.commit(outputs, places, GroupMetadata(self._group))
        self._done, self._committed_at = intended, time.monotonic()
        self._note(intended, intended)
        _AFTER_NOTE()
        self._meter.committed(outputs, places, self._committed_at - began)
        self._delete(found)
        return len(entries)

    def _read(self) -> dict[int, list[Entry]]:
        found: dict[int, list[Entry]] = {}
        for lane in self._folder.lanes():
            reader = self._readers.get(lane.number)
            if reader is None:
                reader = self._readers[lane.number] = LaneReader(lane, self._done.get(lane.number, 0))
            if entries := reader.read(_READ_BYTES):
                found[lane.number] = entries
        return found

    def _outputs(self, entries: Sequence[Entry]) -> list[Output]:
        topics = self._topics
        return [
            _new(Output, (topics[each.kind], each.partition, each.key, each.value, each.headers, None))
            for entry in entries
            for each in entry.records
        ]

    def _told_of_age(self, age_ms: int, now: int) -> list[Output]:
        old = self._settings.old_ms
        if not old:
            return []
        if age_ms < old:
            return self._alerts.clear(_AGE_ALERT, now)
        said = (
            f"answers over HTTP reach Kafka {age_ms / 1000:.0f} s late, and a label that comes otherwise waits "
            f"{2 * old / 1000:.0f} s for its prediction: look at Kafka and at the forwarder's machine"
        )
        return self._alerts.raise_(_AGE_ALERT, "warning", said, now)

    def _note(self, intended: Mapping[int, int], done: Mapping[int, int]) -> None:
        self._folder.note(intended, done, self._clock())

    def _delete(self, lanes: Mapping[int, object]) -> None:
        """Delete the segments that are on Kafka, except for each lane's last, to which a server may write."""
        for number in lanes:
            lane = self._folder.lane(number)
            segments = lane.segments()
            for first, following in pairwise(segments):
                if following <= self._done[number]:
                    _BEFORE_DELETE()
                    lane.file(first).unlink()

    def close(self) -> None:
        """Close the producer, and leave the spool to another forwarder."""
        self._transactions.close()
        os.close(self._lock)


def group(names: Names, instance: str) -> str:
    """Return the group of a forwarder's place."""
    return f"{names.group(FORWARDER)}.{instance}"


class _Topics(dict[str, str]):
    """The topic of each kind of records."""

    def __init__(self, names: Names) -> None:
        super().__init__({WHOLE: names.whole})
        self._names = names

    def __missing__(self, kind: str) -> str:
        topic = self[kind] = self._names.topic(kind)
        return topic
