"""Active learner, which has the log's partition: reads examples, writes versions and alerts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from msgspec import UNSET

from consumers.learner.alerts import LearnerAlerts
from consumers.learner.checkpoint_timer import CheckpointTimer, wall_ms
from consumers.learner.dead_letters import LearnerLetters
from consumers.learner.decisions import Control
from consumers.learner.offset_metadata import LearnerMetadata, published
from consumers.learner.poison_rollback import PoisonRecord, Shield, unsound
from consumers.loop.processor import Anew
from consumers.model.checkpoints import LearnerCheckpoints, NewEpoch, Standing
from consumers.model.lanes import LaneFault
from consumers.model.log_replay import TOGETHER
from consumers.model.model_state import LearnerState, Poison, Unfit
from consumers.model.quality import quality
from consumers.model.river_model import ModelError
from consumers.model.upgrade_report import Comparison
from model_store import Manifest, StoreError, StoreUnavailable, VersionId
from runtime.exits import Doubt, RoleRefused
from runtime.failpoints import failpoint
from runtime.kafka_client.records import Batch, CommittedOffset, Output, Partition, Positions, Record
from schemas.codec import CodecError
from schemas.fast_examples import EntryReader, FastExample
from schemas.model_updates import ModelUpdate

_PRUNE_EVERY: Final = 20  # checkpoints
_LONG: Final = 500  # examples; a replay of more than this costs more than writing a version
_MOST_SKIPPED: Final = 10_000  # runs: every later manifest lists them
# The committed offset only shows progress; the offset that counts is in the version. A transaction for each batch
# would take a tenth of the learning time.
_PLACE_EVERY_MS: Final = 500
_offset: Final = attrgetter("offset")
_BEFORE_ANNOUNCING: Final = failpoint("learner.announce.before")


@dataclass(frozen=True)
class Handover:
    """State with which an active learner begins.

    Attributes
    ----------
    standing
        The state of the log at which it continues; its offset is the next to be read.
    newest
        The newest version.
    comparison
        Comparison with the version that this epoch replaces.
    committed
        The group's committed offset in this log, `None` if there is none yet.
    unadoptable
        The adopted version from which the learner cannot continue.
    """

    partition: Partition
    learning: LearnerState
    standing: Standing
    newest: Manifest
    comparison: Comparison
    committed: CommittedOffset | None
    new_epoch: NewEpoch | None
    unadoptable: VersionId | None


class ActiveLearner:
    """Learns from one partition while it is assigned.

    Parameters
    ----------
    models
        The models topic.
    alerts, timer
        Objects of the process: their state outlives an assignment.
    say
        Prints one line for the operator.
    """

    def __init__(
        self,
        handover: Handover,
        checkpoints: LearnerCheckpoints,
        control: Control,
        *,
        announce_to: Sequence[str],
        alerts: LearnerAlerts,
        letters: LearnerLetters,
        timer: CheckpointTimer,
        say: Callable[[str], None],
    ) -> None:
        self._checkpoints = checkpoints
        self._control = control
        self._announce_to = announce_to
        self._alerts = alerts
        self._letters = letters
        self._timer = timer
        self._say = say
        self._partition = handover.partition
        self._keeps_lanes = handover.new_epoch == "keep"
        self._unadoptable = handover.unadoptable
        self._reader = EntryReader()
        self._shield = Shield(checkpoints.copy)
        self._learning = handover.learning
        self._standing = handover.standing
        self._comparison = handover.comparison
        self._newest = handover.newest
        self._announced: Manifest | None = None
        self._read = self._from = handover.standing.offset  # the next offset; the offset of the resumed version
        # A replay reads records below the committed offset again, which does not move during that time.
        self._least_place = 0 if handover.committed is None else handover.committed.offset
        # Without a committed offset, only a version would show which dead letters have been sent: so none is written.
        self._placed = handover.committed is not None
        self._told: tuple[Manifest, CommittedOffset] | None = None  # the offset committed last, and its version
        self._told_at = 0

    # --- learning ----------------------------------------------------------------------------------

    def process(self, batch: Batch) -> list[Output]:
        records = batch.get(self._partition, ())
        at = bisect_left(records, self._from, key=_offset)
        for record in records[:at]:
            self._letters.catch_up(record, self._learning)
        while at < len(records):
            several = records[at : at + TOGETHER]
            self._take_all(several, self._decoded(several))
            at += len(several)
        return self._posted()

    def _take_all(self, records: Sequence[Record], entries: Sequence[FastExample | CodecError]) -> None:
        """Apply decoded records: plain examples by stages, each of the others by itself."""
        at = 0
        while at < len(records):
            at += self._take_plain(records[at:], entries[at:])
            if at < len(records):
                self._take_one(records[at], entries[at])
                at += 1

    def _decoded(self, records: Sequence[Record]) -> list[FastExample | CodecError]:
        read, entries = self._reader.read, list[FastExample | CodecError]()
        for record in records:
            try:
                entries.append(read(record.value or b""))
            except CodecError as error:
                entries.append(error)
        return entries

    def _take_plain(self, records: Sequence[Record], entries: Sequence[FastExample | CodecError]) -> int:
        """Learn the plain examples at the beginning of the records by stages; return their number."""
        until = bisect_left(records, self._comparison.until - 1, key=_offset)  # that one is followed by the report
        try:
            count = self._learning.take_plain(_examples(entries[:until]))
        except Poison as poison:
            count = poison.at + 1
            self._keep(records[:count])
            self._restore(poison.reason)
        else:
            self._keep(records[:count])
        return count

    def _keep(self, records: Sequence[Record]) -> None:
        self._shield.keep(records)
        if records:
            self._read = records[-1].offset + 1

    def _take_one(self, record: Record, entry: FastExample | CodecError) -> None:
        self._keep([record])
        try:
            self._apply(record, entry)
        except Poison as poison:
            self._restore(poison.reason)
        self._tell(record)
        if self._read >= self._comparison.until:
            for line in self._comparison.compare(self._learning):
                self._say(line)

    def _tell(self, record: Record) -> None:
        """Report the news since the previous record."""
        learning = self._learning
        for line in learning.news:
            self._say(line)
        if learning.warned is not None:
            self._letters.waiting += self._alerts.outlier(record, learning.warned, learning.learned)
        learning.news, learning.warned = [], None

    def _posted(self) -> list[Output]:
        """Return the dead letters and alerts collected since the last call, each once."""
        letters = self._letters.take()
        if letters:
            self._told = None  # the next offset metadata must say that they are sent, and which alerts are raised
        return letters

    def _apply(self, record: Record, entry: FastExample | CodecError) -> None:
        """Learn one record."""
        if isinstance(entry, CodecError):
            self._letters.refuse(record, "codec", str(entry))
            return
        try:
            try:
                self._learning.take(entry, record.offset)
            except LaneFault as fault:
                if not self._keeps_lanes:
                    raise
                self._take_lane_as_it_stands(fault, record)
                self._learning.take(entry, record.offset)
        except Unfit as error:
            self._letters.refuse(record, error.code, str(error))
            self._letters.waiting += self._alerts.refused(record, str(error), self._learning.learned)

    def _take_lane_as_it_stands(self, fault: LaneFault, record: Record) -> None:
        """Begin an epoch with this model, because an operator has seen the fault and decided to continue."""
        epoch = self._checkpoints.next_epoch()
        self._say(f"{fault} Because of --new-epoch keep, epoch {epoch} begins here")
        self._learning.lanes.stand_at(fault.lane)
        self._standing = replace(self._standing, epoch=epoch, parent=self._newest.version, overtakes=0)
        self._read = record.offset
        self._comparison = Comparison()
        self._newest = self._write("lane", wall_ms())
        self._read = record.offset + 1
        self._shield.begin(record)

    def _restore(self, reason: str) -> None:
        """Restore the model, which is broken or may have learned half an example, without the guilty examples."""
        if self._shield.overfull:
            raise Doubt(f"the model is broken ({reason}), and too much was learned since to go back")
        restored = self._shield.restore(self._shield.base or self._checkpoints.load(self._newest))
        self._take_over(restored.learning, restored.found)
        self._write_if_long()

    def _hold(self) -> None:
        """Keep the state in memory if no version can be written: nothing new was learned, or the store is unavailable.

        A restart reads all these records again and finds the same guilty ones.
        """
        if (reason := unsound(self._learning)) is not None:
            self._restore(reason)
        self._shield.hold(self._learning)
        self._letters.settle()

    def _take_over(self, learning: LearnerState, found: list[PoisonRecord]) -> None:
        self._learning = learning
        learning.news, learning.warned = [], None  # reported before
        for each in found:
            self._letters.refuse(each.record, "model", each.reason)
            self._letters.waiting += self._alerts.poison(each.record, each.reason, learning.learned)
        for record in self._shield.records:
            # This time other examples came before it, so the rules may refuse it.
            if record.offset in learning.refused:
                self._letters.refuse_again(record)
        if len(learning.skipped) > _MOST_SKIPPED:
            raise RoleRefused(
                f"{len(learning.skipped)} examples here and there have broken the model: it does not fit its data. "
                "Correct it or the contract, and start the learner once with --new-epoch fresh"
            )

    def _write_if_long(self) -> None:
        """Write a version if the replay was long, so that the next rollback does not repeat it."""
        if self._placed and len(self._shield.records) > _LONG and self._learning.learned > self._newest.examples:
            self._checkpoint("restored", self._timer.now_ms or wall_ms())

    # --- versions ----------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[Output]:
        self._timer.now_ms = now_ms
        self._look_for_another_model()
        new = self._learning.learned - self._newest.examples
        if self._placed and self._timer.due(new, filling=self._shield.filling):
            self._checkpoint("interval", now_ms)
            self._timer.wrote()
        if self._shield.filling:
            self._hold()
        self._letters.waiting += self._alerts.passed(self._learning.learned, now_ms)
        self._letters.waiting += self._alerts.size(self._checkpoints.growth, now_ms)
        return [*self._posted(), *self._announcement(now_ms)]

    def _look_for_another_model(self) -> None:
        """Take over again from the rebuilt version, at its own offset, once an operator has adopted one.

        The examples learned since the last version of this epoch are dropped from the model; the log still has them.
        """
        adopted = self._control.adopted()
        if adopted is None or adopted.epoch <= self._standing.epoch or adopted == self._unadoptable:
            return
        self._say(f"version {adopted} is adopted: learning continues from it")
        raise Anew

    def _checkpoint(self, reason: str, now_ms: int) -> None:
        try:
            self._newest = self._write(reason, now_ms)
        except StoreUnavailable as error:
            # Learning continues and predictors keep serving; the next checkpoint that is due tries again.
            self._say(f"no checkpoint: {error}")
            self._letters.waiting += self._alerts.not_written(str(error), self._timer.now_ms)
            return
        self._letters.waiting += self._alerts.written(self._timer.now_ms)
        if self._newest.offset >= self._standing.overtakes:  # a replay tells of answers of long ago
            found = quality(self._newest.metrics)
            self._letters.waiting += self._alerts.quality(found, self._learning.learned, self._timer.now_ms)
        self._timer.written += 1
        if self._timer.written % _PRUNE_EVERY == 0:
            try:
                self._checkpoints.prune({self._newest.version, *self._control.protected()})
            except StoreError as error:
                self._say(f"old versions stay for now: {error}")

    def _write(self, reason: str, now_ms: int) -> Manifest:
        standing = replace(self._standing, offset=self._read)
        while True:
            try:
                manifest = self._checkpoints.write(
                    self._learning, standing, reason, now_ms, extra=self._comparison.extra
                )
                break
            except ModelError as error:
                self._restore(str(error))
        self._shield.begin()
        self._letters.settle()
        return manifest

    def _announcement(self, now_ms: int) -> list[Output]:
        manifest = self._newest
        if manifest is self._announced:
            return []
        if manifest.offset < self._standing.overtakes:
            return []  # during a replay the version that it replaces, or the other models, have learned more
        try:
            sha256 = self._checkpoints.sha256(manifest)
        except StoreUnavailable as error:
            self._say(f"version {manifest.version} is not announced yet: {error}")
            return []
        _BEFORE_ANNOUNCING()
        self._announced = manifest
        state = published(manifest, sha256)
        update = ModelUpdate(now_ms, state)
        return [Output(topic, 0, state.key.encode(), update.encode()) for topic in self._announce_to]

    # --- places, the end ---------------------------------------------------------------------------

    def places(self, read: Positions) -> Mapping[Partition, CommittedOffset]:
        due = self._told_at + _PLACE_EVERY_MS
        if self._told is None or self._told[0] is not self._newest or self._timer.now_ms >= due:
            self._told, self._told_at = (self._newest, self._place(read)), self._timer.now_ms
        return {self._partition: self._told[1]}

    def _place(self, read: Positions) -> CommittedOffset:
        learning = self._learning
        # Offsets beyond the newest version are not committed, so the lag shows what a crash would repeat.
        unsaved = learning.learned != self._newest.examples
        place = self._newest.offset if unsaved else read.get(self._partition, self._read)
        self._least_place = place = max(place, self._least_place)
        metadata = LearnerMetadata(
            version=str(self._newest.version),
            paused=self._control.is_paused(),
            learned=learning.learned,
            skipped=learning.counts["skipped"],
            model_bytes=self._checkpoints.growth.model_bytes,
            full=self._checkpoints.growth.full,
            alerts=self._alerts.remembered(),
            quality=quality(self._newest.metrics) or UNSET,
            # Records before the version may be read again for their dead letters; until that is done, `read` is at
            # most their end.
            read=max(min(self._read, read.get(self._partition, self._read)), self._letters.out_before),
            # In a replay, far behind the committed offset. Otherwise the committed offset itself: a paused learner
            # does not read the marker at the end of the log, and would seem to have unread examples.
            at=read.get(self._partition, self._read) if self._read < self._letters.out_before else place,
        )
        return CommittedOffset(place, metadata.encode())

    def committed(self, places: Mapping[Partition, CommittedOffset]) -> None:
        self._placed = True

    def paused(self) -> frozenset[Partition]:
        # An operator has paused learning, or the model has reached its size limit.
        still = self._control.is_paused() or self._checkpoints.growth.full
        return frozenset({self._partition}) if still else frozenset()

    def stopping(self) -> list[Output]:
        now_ms = wall_ms()
        self._told = None
        if self._learning.learned != self._newest.examples:
            self._checkpoint("stop", now_ms)
        return [*self._posted(), *self._announcement(now_ms)]


def _examples(entries: Iterable[FastExample | CodecError]) -> Iterator[FastExample]:
    """Yield the entries before the first one that could not be decoded."""
    for entry in entries:
        if isinstance(entry, CodecError):
            return
        yield entry
