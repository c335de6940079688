"""Windows of one partition: which records belong together, and when a window closes.

A window holds the records of one partition in one stretch of the broker's time. It closes before the first record of a
later stretch, or with the record that makes it full. Only the records decide, never a clock of this machine, so a
process that reads them again makes the same windows, whatever the sizes of the batches in which it reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from consumers.monitor.answered_versions import AnsweredVersions
from runtime.kafka_client.records import Partition, Record
from schemas.events import Example, Features, FeatureValue
from schemas.profiles import Pairs, Profile, ServedGroup, Window

PREDICTIONS: Final = "predictions"
EXAMPLES: Final = "examples"
METRICS: Final = "metrics"
UNREADABLE: Final = "unreadable"
"""Code of the records that could not be decoded, among a window's errors."""
TOO_MANY_NAMES: Final = "too many names"
"""Code of the values of downstream metrics beyond the number of names that a window has."""

Values: TypeAlias = Sequence[FeatureValue]


class Profiles(Protocol):
    """Collects the values of one window; see `consumers.monitor.profiles.WindowProfiles`."""

    def add_features(self, rows: Sequence[Features]) -> None: ...
    def add(self, key: str, values: Values) -> None: ...
    def finish(self, events: int) -> tuple[dict[str, Profile], Pairs | None, int]: ...


class Served(Protocol):
    """Adds up the metrics of one window of examples."""

    def add(self, examples: Sequence[Example], times: Sequence[int]) -> None: ...
    def finish(self) -> tuple[list[ServedGroup], bytes]: ...


@dataclass(frozen=True)
class WindowRules:
    """When a window closes, and what collects its records.

    Attributes
    ----------
    span_ms, events
        Length in the broker's time, and number of records.
    profiles, served
        Make the collectors of a new window; `served` is given the state of the partition's window before.
    """

    span_ms: int
    events: int
    profiles: Callable[[], Profiles]
    served: Callable[[bytes], Served]


class Reader(Protocol):
    """Decodes records of one kind and adds them to a window."""

    def add(self, records: Sequence[Record], into: OpenWindow) -> None:
        """Add the records; those that cannot be decoded are counted in the window's `errors`."""


class OpenWindow:
    """Window that has not closed.

    Attributes
    ----------
    records, events
        Number of records, and of those that could be decoded.
    metrics
        Names of the downstream metrics in it.
    versions
        Versions that answered in it.
    """

    def __init__(self, kind: str, first: Record, rules: WindowRules, state: bytes) -> None:
        self.kind = kind
        self.partition = Partition(first.topic, first.partition)
        self.first_offset = first.offset
        self.first_time = self.last_time = first.timestamp
        self.next_offset = first.offset
        self.start = first.timestamp - first.timestamp % rules.span_ms
        self.span = rules.span_ms
        self.records = self.events = 0
        self.errors: Counter[str] = Counter()
        self.metrics: set[str] = set()
        self.profiles = rules.profiles()
        self.served = rules.served(state) if kind == EXAMPLES else None
        self.versions = AnsweredVersions()

    def add(self, records: Sequence[Record], reader: Reader) -> None:
        """Add records that belong to it, in the order of their offsets."""
        reader.add(records, self)
        self.records += len(records)
        self.next_offset = records[-1].offset + 1
        self.last_time = records[-1].timestamp

    def close(self) -> Window:
        """Return the record of this window."""
        profiles, pairs, left_out = self.profiles.finish(self.events)
        served, state = self.served.finish() if self.served is not None else ([], self.versions.encode())
        return Window(
            self.kind,
            *self.partition,
            self.first_offset,
            self.next_offset,
            self.start,
            self.span,
            self.first_time,
            self.last_time,
            self.events,
            dict(self.errors),
            profiles,
            left_out,
            pairs,
            served,
            state,
        )


class PartitionWindows:
    """The windows of one partition, one after the other.

    Parameters
    ----------
    state
        State of the last window that has closed, empty if there is none.

    Attributes
    ----------
    open
        The open window, `None` before its first record.
    """

    def __init__(self, kind: str, rules: WindowRules, reader: Reader, state: bytes = b"") -> None:
        self._kind = kind
        self._rules = rules
        self._reader = reader
        self._state = state
        self.open: OpenWindow | None = None

    def take(self, records: Sequence[Record]) -> list[Window]:
        """Take the next records of the partition; return the windows that have closed."""
        closed: list[Window] = []
        begin = 0
        room, until = self._room()
        for at, record in enumerate(records):
            if record.timestamp >= until or at - begin >= room:
                closed += self._close(records[begin:at])
                begin = at
                self.open = OpenWindow(self._kind, record, self._rules, self._state)
                room, until = self._room()
        if len(records) - begin >= room:
            return [*closed, *self._close(records[begin:])]
        if self.open is not None and begin < len(records):
            self.open.add(records[begin:], self._reader)
        return closed

    def finish(self) -> list[Window]:
        """Close the open window, if there is one; return it. Only for a stretch of the log that has been read whole."""
        return self._close(())

    def _room(self) -> tuple[int, int]:
        """Return how many more records the open window takes, and the time at which it ends; 0 if none is open."""
        if self.open is None:
            return 0, 0
        return self._rules.events - self.open.records, self.open.start + self.open.span

    def _close(self, last: Sequence[Record]) -> list[Window]:
        if self.open is None:
            return []
        if last:
            self.open.add(last, self._reader)
        window = self.open.close()
        self.open, self._state = None, window.state
        return [window]
