"""The learner: examples in the log's order in, versions out.

Its place in the log is in the version it wrote, not in Kafka: model and offset are one object.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import msgspec

from consumers.checkpoints import Checkpoints, Log, NewEpoch, Pace, Resumed
from consumers.dead_letters import dead_letter
from consumers.failures import Doubt, Refused
from consumers.lanes import LaneFault
from consumers.learning import Learning, Poison, Unfit
from consumers.processor import Anew, Assignment, Batch, Output, Partition, Place, Positions, Record, Start
from consumers.river_model import ModelError
from model_store import Manifest, StoreError, StoreUnavailable, VersionId
from schemas.codec import CodecError
from schemas.entries import EntryReader
from schemas.events import ModelUpdate, Published
from schemas.topics import Names

_PRUNE_EVERY: Final = 20  # checkpoints
_SAID_IN_FULL: Final = 20
_MOST_KEPT_BYTES: Final = 256 << 20
# A place is only for people to see how far it is, the version has the one that counts: a transaction for
# each batch would take a tenth of the time there is for learning.
_PLACE_EVERY_MS: Final = 500


@dataclass(frozen=True)
class LearnerSettings:
    """What a learner is given."""

    names: Names
    pace: Pace
    new_epoch: NewEpoch | None = None
    shard: int = 0


class Control(Protocol):
    """What people have decided, as the learner needs to know it."""

    def is_paused(self) -> bool:
        """Tell whether learning is paused."""

    def adopted(self) -> VersionId | None:
        """Return the version made anew that learning is to go on from, if somebody has decided so."""

    def protected(self) -> set[VersionId]:
        """Return the versions that serve: retention keeps them."""


class Learner:
    """A `Processor`. See the module's text.

    Parameters
    ----------
    say
        Takes one line for people.
    """

    def __init__(
        self,
        settings: LearnerSettings,
        checkpoints: Checkpoints,
        control: Control,
        say: Callable[[str], None] = print,
    ) -> None:
        self._settings = settings
        self._checkpoints = checkpoints
        self._control = control
        self._say = say
        names = settings.names
        self._examples = names.topic("examples")
        self._models = names.topic("models")
        self._dead_letters = names.topic("dead-letters")
        self._partition = Partition(self._examples, settings.shard)
        self._reader = EntryReader()
        self._resumed: Resumed | None = None
        self._log = Log("", 0, 0)
        self._newest: Manifest | None = None
        self._announced: Manifest | None = None
        self._since: list[Record] = []  # what was applied since the newest version
        self._kept_bytes = 0
        self._guilty: set[int] = set()
        self._letters: list[Output] = []
        self._read = self._from = 0  # next to be read; what the version resumed from stands at
        self._least_place = 0
        self._lettered = 0  # below this offset, what was refused is among the dead letters
        self._told: tuple[Manifest, Place] | None = None  # the place that was committed last, and its version
        self._told_at = self._now_ms = 0
        self._last_began = 0.0
        self._last_cost = 0.0
        self._written = self._left_out = 0
        self._unadoptable: VersionId | None = None

    @property
    def topics(self) -> Sequence[str]:
        return (self._examples,)

    @property
    def _learning(self) -> Learning:
        assert self._resumed is not None  # noqa: S101 - only asked once the partition is here
        return self._resumed.learning

    # --- taking over -------------------------------------------------------------------------------

    def assigned(self, assignment: Assignment) -> Mapping[Partition, Start]:
        self._resumed = None
        self._newest = self._announced = self._told = None
        self._since, self._letters, self._kept_bytes = [], [], 0
        self._guilty.clear()
        if self._partition not in assignment.committed:
            self._say("waiting: another learner works")
            return {partition: Start(live=assignment.ends[partition]) for partition in assignment.committed}
        self._log = Log(
            assignment.topic_ids[self._examples],
            assignment.beginnings[self._partition],
            assignment.ends[self._partition],
            self._examples,
        )
        adopted = self._control.adopted()
        resumed = self._checkpoints.resume(self._log, self._settings.new_epoch, self._say, adopted)
        self._resumed = resumed
        if adopted is not None and adopted.epoch > resumed.epoch:
            self._unadoptable = adopted  # why was said; asked for again, it would be the same
        if resumed.note:
            self._say(resumed.note)
        self._read = self._from = resumed.offset
        # In a log that is another, or was cut short, offsets are taken anew: the place committed says nothing there.
        committed = None if resumed.cut else assignment.committed[self._partition]
        # A replay reads again what is committed; the committed place stays where it is meanwhile.
        self._least_place = 0 if committed is None else committed.offset
        self._lettered = _read_before(committed)
        self._newest = resumed.manifest or self._write("start")
        # A version can be written and its process die before the dead letters of what it passed over went out.
        again = self._lettered if committed is not None and resumed.manifest is not None else resumed.offset
        return {self._partition: Start(live=max(min(resumed.offset, again), self._log.beginning), back=resumed.cut)}

    def recover(self, batch: Batch) -> None:
        """Never called: the version holds the place."""

    def recovered(self) -> None:
        """Nothing to recover."""

    # --- learning ----------------------------------------------------------------------------------

    def process(self, batch: Batch) -> list[Output]:
        for record in batch.get(self._partition, ()):
            if record.offset < self._from:
                self._catch_up(record)
                continue
            self._keep(record)
            self._read = record.offset + 1
            try:
                self._apply(record)
            except Poison as poison:
                self._go_back(record, poison.reason)
        return self._posted()

    def _posted(self) -> list[Output]:
        """Return the dead letters that have come together, each once."""
        letters, self._letters = self._letters, []
        if letters:
            self._told = None  # the place that goes with them says that they are out
        return letters

    def _catch_up(self, record: Record) -> None:
        """Send the dead letter, if any, of a record that the version resumed from has in it."""
        try:
            self._reader.read(record.value or b"")
        except CodecError as error:
            self._refuse(record, "codec", str(error), quiet=False)
            return
        if record.offset in self._learning.skipped:
            self._refuse(record, "model", "it was left out of the model", quiet=False)

    def _keep(self, record: Record) -> None:
        """Keep a record for going back, within bounds: past them, going back is what a start does."""
        self._kept_bytes += len(record.value or b"")
        if self._kept_bytes <= _MOST_KEPT_BYTES:
            self._since.append(record)
        else:
            self._since = []

    def _apply(self, record: Record, quiet: bool = False) -> None:
        """Take one record in; `quiet` where its dead letter, if any, has gone out before."""
        try:
            entry = self._reader.read(record.value or b"")
        except CodecError as error:
            self._refuse(record, "codec", str(error), quiet)
            return
        try:
            try:
                self._learning.take(entry, record.offset, record.offset in self._guilty)
            except LaneFault as fault:
                if self._settings.new_epoch != "keep" or quiet:
                    raise
                self._take_lane_as_it_stands(fault, record)
                self._learning.take(entry, record.offset)
        except Unfit as error:
            self._refuse(record, error.code, str(error), quiet)

    def _take_lane_as_it_stands(self, fault: LaneFault, record: Record) -> None:
        """Somebody has seen the fault and decided to go on: with this model, in an epoch that says so."""
        assert self._resumed is not None  # noqa: S101
        assert self._newest is not None  # noqa: S101
        self._say(f"{fault} As --new-epoch keep says, epoch {self._resumed.epoch + 1} begins here")
        self._learning.lanes.stand_at(fault.lane)
        self._resumed = replace(self._resumed, epoch=self._resumed.epoch + 1, parent=self._newest.version, overtakes=0)
        self._read = record.offset
        self._newest = self._write("lane")
        self._read = record.offset + 1
        self._since = [record]

    def _go_back(self, record: Record, reason: str) -> None:
        """The model may have learned half of it: take the newest version, and all since but the guilty."""
        assert self._newest is not None  # noqa: S101 - written before anything was read
        assert self._resumed is not None  # noqa: S101
        if self._kept_bytes > _MOST_KEPT_BYTES:
            raise Doubt(f"example at offset {record.offset} broke the model, and too much was learned since to go back")
        while True:
            self._guilty.add(record.offset)
            self._say_left_out(record.offset, reason)
            self._refuse(record, "model", reason, quiet=False)
            self._resumed = replace(self._resumed, learning=self._checkpoints.load(self._newest))
            try:
                for record in self._since:  # noqa: PLR1704 - the one at which another poison was found
                    self._apply(record, quiet=True)
            except Poison as another:
                reason = another.reason
            else:
                return

    def _say_left_out(self, offset: int, reason: str) -> None:
        """Say the first ones in full: a model that does not fit its data is broken by every example."""
        self._left_out += 1
        if self._left_out <= _SAID_IN_FULL:
            self._say(f"example at offset {offset} broke the model and is left out: {reason}")
        elif self._left_out % 1000 == 0:
            self._say(f"{self._left_out} examples broke the model and are left out, the last at offset {offset}")
        if self._left_out == _SAID_IN_FULL:
            self._say("more such examples are counted, and are among the dead letters")

    def _heal(self, error: ModelError) -> None:
        """The model answers its own probe with what is no number: leave out the most extreme example since.

        One 1e200 makes a scaler's variance infinite without a word, and every answer after it NaN. Which
        example is left out depends on the log and the newest version alone, and goes into the manifest.
        """
        suspects = [record for record in self._since if record.offset not in self._guilty]
        if not suspects:
            raise Refused(
                f"the model answers with no number ({error}) and nothing was learned since its newest version"
            )
        worst = max(suspects, key=lambda record: _extremeness(self._reader, record))
        self._go_back(worst, f"its features leave the model without finite answers: {error}")

    def _refuse(self, record: Record, code: str, reason: str, quiet: bool) -> None:
        if not quiet and record.offset >= self._lettered:
            self._letters.append(dead_letter(self._dead_letters, record, "learner", code, reason, record.timestamp))

    # --- versions ----------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Output]:
        if self._resumed is None or self._newest is None:
            return []
        self._now_ms = now_ms
        self._look_for_another_model()
        began = time.monotonic()
        new = self._learning.learned - self._newest.examples
        if self._settings.pace.due(began - self._last_began, self._last_cost, new):
            self._checkpoint("interval", now_ms)
            self._last_began, self._last_cost = began, time.monotonic() - began
        return [*self._posted(), *self._announcement(now_ms)]

    def _look_for_another_model(self) -> None:
        """Go on from a version made anew once somebody has decided so: from its own place in the log.

        What was learned since the last version of this epoch is given up; the log has it.
        """
        assert self._resumed is not None  # noqa: S101
        adopted = self._control.adopted()
        if adopted is None or adopted.epoch <= self._resumed.epoch or adopted == self._unadoptable:
            return
        self._say(f"version {adopted} is adopted: learning goes on from it")
        raise Anew

    def _checkpoint(self, reason: str, now_ms: int) -> None:
        try:
            self._newest = self._write(reason, now_ms)
        except StoreUnavailable as error:
            # Learning goes on; the next one that is due tries again, and the predictors serve on.
            self._say(f"no checkpoint: {error}")
            return
        self._written += 1
        if self._written % _PRUNE_EVERY == 0:
            try:
                self._checkpoints.prune({self._newest.version, *self._control.protected()})
            except StoreError as error:
                self._say(f"old versions stay for now: {error}")

    def _write(self, reason: str, now_ms: int | None = None) -> Manifest:
        assert self._resumed is not None  # noqa: S101
        resumed = self._resumed
        now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
        while True:
            try:
                manifest = self._checkpoints.write(
                    self._learning, resumed.epoch, self._read, self._log, resumed.parent, reason, now_ms
                )
                break
            except ModelError as error:
                self._heal(error)
        self._since, self._kept_bytes = [], 0
        return manifest

    def _announcement(self, now_ms: int) -> list[Output]:
        manifest, resumed = self._newest, self._resumed
        if manifest is None or resumed is None or manifest is self._announced:
            return []
        if manifest.offset < resumed.overtakes:
            return []  # a replay under way: what it goes on from knows more, and serves on
        try:
            sha256 = self._checkpoints.sha256(manifest)
        except StoreUnavailable as error:
            self._say(f"version {manifest.version} is not announced yet: {error}")
            return []
        self._announced = manifest
        progressive = manifest.metrics.get("progressive", {}).get("all", {})
        state = Published(
            model=manifest.version.model,
            shard=manifest.shard,
            epoch=manifest.version.epoch,
            examples=manifest.version.examples,
            topic_id=manifest.topic_id,
            offset=manifest.offset,
            manifest_sha256=sha256,
            labels_from=-1 if manifest.labels_from_ms is None else manifest.labels_from_ms,
            labels_to=-1 if manifest.labels_to_ms is None else manifest.labels_to_ms,
            metrics={name: value for name, value in progressive.items() if value is not None},
        )
        update = ModelUpdate(now_ms, state)
        return [Output(self._models, 0, state.key.encode(), update.encode())]

    # --- places, the end ---------------------------------------------------------------------------

    def places(self, read: Positions) -> Mapping[Partition, Place]:
        if self._resumed is None or self._newest is None:
            return {}
        due = self._told_at + _PLACE_EVERY_MS
        if self._told is None or self._told[0] is not self._newest or self._now_ms >= due:
            self._told, self._told_at = (self._newest, self._place(read)), self._now_ms
        return {self._partition: self._told[1]}

    def _place(self, read: Positions) -> Place:
        assert self._newest is not None  # noqa: S101
        learning = self._learning
        # What is read and not yet in a version is not committed: lag then shows what a crash would redo.
        unsaved = learning.learned != self._newest.examples
        place = self._newest.offset if unsaved else read.get(self._partition, self._read)
        self._least_place = place = max(place, self._least_place)
        metadata = {
            "v": str(self._newest.version),
            "paused": self._control.is_paused(),
            "learned": learning.learned,
            "skipped": len(learning.skipped),
            "read": max(self._read, self._lettered),
            # In a replay that is far behind the committed place; else a paused learner, which reads no marker at the
            # end of the log, would seem to have examples waiting.
            "at": read.get(self._partition, self._read) if self._read < self._lettered else place,
        }
        return Place(place, msgspec.json.encode(metadata).decode())

    def committed(self, places: Mapping[Partition, Place]) -> None:
        """Nothing is kept beside the store."""

    def paused(self) -> frozenset[Partition]:
        return frozenset({self._partition}) if self._control.is_paused() else frozenset()

    def stopping(self) -> list[Output]:
        if self._resumed is None or self._newest is None:
            return []
        now_ms = time.time_ns() // 1_000_000
        self._told = None
        if self._learning.learned != self._newest.examples:
            self._checkpoint("stop", now_ms)
        return [*self._posted(), *self._announcement(now_ms)]

    def close(self) -> None:
        """Nothing to let go of."""


def _read_before(committed: Place | None) -> int:
    """Return how far the log was read when its place was last committed, whatever is in a version since."""
    try:
        told = msgspec.json.decode(committed.metadata) if committed is not None else {}
    except msgspec.DecodeError:
        return 0
    read = told.get("read", 0) if isinstance(told, dict) else 0
    return read if isinstance(read, int) else 0


def _extremeness(reader: EntryReader, record: Record) -> float:
    """Return the largest magnitude among an example's numbers."""
    try:
        entry = reader.read(record.value or b"")
    except CodecError:
        return -1.0
    numbers = [abs(value) for value in entry.features.values() if isinstance(value, (int, float))]
    label = entry.label
    if isinstance(label, (int, float)):
        numbers.append(abs(label))
    return float(max(numbers, default=0.0))
