"""Announced versions of several models by time: which were known before a prediction was made.

The broker's time of an announcement decides, never the time at which this process reads it. Announcements are read from
the decisions topic, which keeps them all; the models topic is compacted and keeps the last of each model.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from model_store import InvalidVersion, VersionId
from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.model_updates import Published, read_model_update

_BEFORE: Final = 32
"""Announcements of each model that are kept from before the oldest prediction, because the last may be unusable."""
_LOOKED_AT: Final = 1000
"""Records before the oldest prediction that are looked at, for the same reason."""


class AnnouncementLog(Protocol):
    """The decisions topic and the models topic, as announcements need them. Times in ms, by the broker."""

    def current(self) -> Iterator[Record]:
        """Yield all records of the models topic."""

    def seek(self, time: int) -> None:
        """Let `further` continue with the first record of the decisions topic at or after `time`."""

    def before(self) -> Iterator[Record]:
        """Yield the records of the decisions topic before the one that `seek` has found, newest first."""

    def further(self) -> Iterator[Record]:
        """Yield the next records of the decisions topic, at least up to the newest at the time of the call."""


class Announcement(NamedTuple):
    """Announcement of a version: the broker's time of it, and the announced hash of the manifest."""

    time: int
    version: VersionId
    sha256: str


@dataclass
class _History:
    """The announcements of one model, in the order of their times."""

    times: list[int] = field(default_factory=list)
    entries: list[Announcement] = field(default_factory=list)

    def add(self, entry: Announcement) -> None:
        # A broker's clock can be set back: then a later time is safe, an earlier one would reveal knowledge too soon.
        time = max(entry.time, self.times[-1] if self.times else 0)
        self.times.append(time)
        self.entries.append(entry._replace(time=time))

    def forget(self, time: int) -> None:
        """Forget all but the last few announcements before `time`."""
        gone = max(0, bisect_left(self.times, time) - _BEFORE)
        del self.times[:gone], self.entries[:gone]


class Announcements:
    """The announcements of a stream's models that predictions from some time on can have known.

    Parameters
    ----------
    models
        Model ids.
    """

    def __init__(self, log: AnnouncementLog, models: Collection[str]) -> None:
        self._log = log
        self._models = frozenset(models)
        self._histories: dict[str, _History] = defaultdict(_History)
        self._from: int | None = None  # complete for predictions from this time on
        self._until = -1  # and up to this time

    def cover(self, oldest: int, newest: int) -> bool:
        """Read what is needed for predictions of these times, which the broker has taken already.

        Returns whether the histories were read anew, because a prediction is older than all before.
        """
        anew = self._from is None or oldest < self._from
        if anew:
            self._look_back(oldest)
        if anew or newest > self._until:
            # The broker took these predictions before this call, so every announcement before them is there by now.
            for record in self._log.further():
                self._note(record)
            self._until = newest
        return anew

    def first(self, models: Collection[str]) -> int | None:
        """Return the time of the first announcement of any of these models, `None` if there is none."""
        self._from = None
        self._log.seek(0)
        for record in self._log.further():
            found = self._read(record)
            if found is not None and found.version.model in models:
                return found.time
        return None

    def known(self, model: str, time: int) -> int:
        """Return how many announcements of a model are known before `time`: equal for equal knowledge."""
        return bisect_left(self._histories[model].times, time)

    def newest(self, model: str, count: int) -> list[Announcement]:
        """Return the newest versions among the first `count` announcements of a model, newest first."""
        known = reversed(self._histories[model].entries[max(0, count - _BEFORE) : count])
        return sorted(known, key=lambda each: each.version, reverse=True)

    def forget(self, time: int) -> None:
        """Forget what only predictions before `time` need."""
        if self._from is not None and time > self._from:
            self._from = time
            for history in self._histories.values():
                history.forget(time)

    def _look_back(self, oldest: int) -> None:
        self._histories.clear()
        self._from, self._until = oldest, -1
        self._log.seek(oldest)
        last: dict[str, Announcement] = {}
        for record in self._log.current():
            found = self._read(record)
            if found is not None and (found.version.model not in last or last[found.version.model] <= found):
                last[found.version.model] = found
        # The last announcement of a model is enough if it is older than the oldest prediction. Otherwise the one before
        # that prediction is further back on the decisions topic.
        wanted = {model for model, found in last.items() if found.time >= oldest}
        back = [found for found in last.values() if found.time < oldest]
        for number, record in enumerate(self._log.before()):
            if not wanted and number >= _LOOKED_AT:
                break
            found = self._read(record)
            if found is not None:
                back.append(found)
                wanted.discard(found.version.model)
        for found in sorted({*back}):
            self._histories[found.version.model].add(found)

    def _note(self, record: Record) -> None:
        found = self._read(record)
        if found is not None:
            self._histories[found.version.model].add(found)

    def _read(self, record: Record) -> Announcement | None:
        """Return a record's announcement; `None` if it is a decision, of another model, or no valid record."""
        if record.value is None:
            return None
        try:
            state = read_model_update(record.value).state
            if not isinstance(state, Published) or state.model not in self._models or _key(record) != state.key:
                return None
            version = VersionId(state.model, state.epoch, state.examples)
        except (CodecError, InvalidVersion):
            return None  # any client can write there
        return Announcement(record.timestamp, version, state.manifest_sha256)


def _key(record: Record) -> str:
    return (record.key or b"").decode(errors="replace")
