"""The join of one partition: matches predictions with labels, in either order of arrival.

Every decision compares the broker times of the records concerned, never a local clock, so the joined pairs do not
depend on how the reads of the two topics were interleaved. Eviction timing never changes results: an entry goes only
when no later record can match it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from consumers.joiner.entries import PartitionEntries
from consumers.joiner.join_state import Emitted, JoinEntry, JoinRules, JoinState, NotWritten, Waiting
from consumers.joiner.joins import RecordReader
from consumers.joiner.labels import EncodedLabel, LabelReader
from consumers.joiner.local_store import LocalStore
from schemas.codec import CodecError
from schemas.contract import MASK
from schemas.events import Label, event_id_bytes, peek_event_id
from schemas.fast_examples import PredictionReader

__all__ = ["Emitted", "JoinRules", "JoinState", "NotWritten", "PartitionJoin"]

_WAITING, _JOINED, _EXPIRED = 1, 2, 3
_MOST_AT_ONCE: Final = 5000  # waits that end in one turn, because a transaction has a deadline
_MOST_LABELS_AN_ID: Final = 16  # waiting, within one label wait: a sender stuck in a loop must not fill the store


class PartitionJoin:
    """Applies predictions and labels of one partition to a local store; `emitted` collects examples."""

    def __init__(
        self, store: LocalStore, partition: int, rules: JoinRules, state: JoinState, reader: RecordReader | None = None
    ) -> None:
        self._entries = PartitionEntries(store, partition)
        self._rules = rules
        self.state = state
        self.emitted: list[Emitted] = []
        self.refused: list[NotWritten] = []
        self._reader = reader or PredictionReader()
        self._is_joinable = self._reader.joinable
        self._label_reader = LabelReader(rules.target)
        self._next_expiry: int | None = 0  # unknown: it must be looked up
        self._next_label_expiry: int | None = 0
        self._next_forget = 0

    # --- records -----------------------------------------------------------------------------------

    def arrived(self, value: bytes, time: int) -> bytes | None:
        """Note a record of predictions; return the key of its id, `None` if it is not to be joined.

        Raises
        ------
        CodecError
            If its id cannot be read.
        """
        self._tick_predictions(time)
        if not self._is_joinable(value):
            self.count("errors")
            return None
        return self._entries.key(event_id_bytes(value))

    def predictions(self, arrived: Sequence[tuple[bytes, bytes, int, int]]) -> None:
        """Apply records of predictions in their order: key, value, offset and time of each."""
        keys = [key for key, _, _, _ in arrived]
        self._entries.load(keys)
        if self.state.waiting_labels:
            self._entries.load_labels(keys)
        for key, value, offset, time in arrived:
            self._prediction(key, value, offset, time)

    def labels(self, arrived: Sequence[tuple[EncodedLabel, int, int]]) -> None:
        """Apply labels in their order: each with its offset and time."""
        entries = self._entries
        keys = [entries.key(label.event_id) for label, _, _ in arrived]
        entries.load(keys)
        unknown, waiting = [], []
        for key in keys:
            entry = entries.get(key)
            if entry is None:
                unknown.append(key)
            elif entry.state == _WAITING:
                waiting.append(entry.offset)
        entries.load_labels(unknown)
        entries.load_predictions(waiting)
        for key, (label, offset, time) in zip(keys, arrived, strict=True):
            self._label(key, label, offset, time)

    def _prediction(self, key: bytes, value: bytes, offset: int, time: int) -> None:
        entry = self._entries.get(key)
        if entry is not None and time <= entry.last_time() + self._rules.remembered:
            self.count("again")
            return
        self._entries.put_prediction(offset, time, key, value)
        self._soonest(time)
        self.state.waiting_predictions += 1
        if self._rules.learn_from_events:
            self.emitted.append(Emitted(value, None, offset, time, -1, -1))
        entry = None if entry is None else self._current(key, entry, self.state.labels_clock)
        if entry is not None:
            # The id is used again while labels of its earlier use may still arrive, so this use is queued behind that
            # one.
            entry.behind.append((time, offset))
            self._entries.put(key, entry)
            return
        fresh = JoinEntry(_WAITING, time, offset)
        self._meet_all(fresh, self._come_before(key, time + self._rules.remembered))
        self._entries.put(key, fresh)

    def _label(self, key: bytes, label: EncodedLabel, offset: int, time: int) -> None:
        self._tick_labels(time)
        entry = self._entries.get(key)
        entry = None if entry is None else self._current(key, entry, time)
        if entry is None:
            self._wait(key, label, offset, time)
            return
        self._meet(entry, label, offset, time)
        self._entries.put(key, entry)

    def _current(self, key: bytes, entry: JoinEntry, time: int) -> JoinEntry | None:
        """Return the use of an id that a label of `time` can match; `None` if all uses are over.

        An entry's eviction depends on how far both topics have been read; the fate of a label must not.
        """
        now: JoinEntry | None = entry
        while now is not None and time > now.time + self._rules.remembered:
            if now.state == _WAITING:
                self._expire(key, now)
            now = self._next_use(key, now)
        return now

    def _next_use(self, key: bytes, entry: JoinEntry) -> JoinEntry | None:
        """Replace an entry by the next use of its id and return it; `None` if there is no next use."""
        if not entry.behind:
            return None
        following = JoinEntry(_WAITING, *entry.behind[0], behind=entry.behind[1:])
        self._entries.put(key, following)
        return following

    def tick(self, time: int) -> None:
        """Apply a tick: a record of labels that only carries the time."""
        self._tick_labels(time)

    def tick_predictions(self, time: int) -> None:
        """Apply the time of a prediction that is not joined."""
        self._tick_predictions(time)

    def advance(self) -> None:
        """End the waits that the clocks have passed, and evict entries that no later record can match."""
        self._expire_predictions()
        self._expire_labels()
        self._forget()
        self.flush()

    def flush(self) -> None:
        """Write all changes to the store."""
        self._entries.flush()

    def oldest_wait_ends(self) -> int | None:
        """Return the time of the labels clock that ends the oldest wait, `None` if nothing waits."""
        return self._next_expiry if self.state.waiting_predictions else None

    def oldest_wait(self) -> int | None:
        """Return the time of the oldest prediction whose wait has not ended, `None` if nothing waits."""
        ends = self.oldest_wait_ends()
        return ends - self._rules.label_wait if ends else None

    def end_waits_until(self, examined: int) -> None:
        """In recovery, end the waits that had ended before: of labels, and of predictions below `examined`."""
        self._expire_predictions(below=examined)
        # Also for predictions that were not read again: another store that still holds them must learn that they ended.
        self.state.examined = max(self.state.examined, examined)
        self._expire_labels()
        self._forget()
        self.flush()

    # --- joining -----------------------------------------------------------------------------------

    def _meet(self, entry: JoinEntry, label: EncodedLabel, offset: int, time: int) -> None:
        rules = self._rules
        if abs(time - entry.time) > rules.label_wait and entry.state != _JOINED:
            self.count("late" if time > entry.time else "unknown")
        elif entry.state == _WAITING:
            self._join(entry, label, offset, time)
        elif entry.state == _EXPIRED or time > entry.joined_at + rules.dedup_window:
            self.count("late")
        elif label.kind == "correction":
            entry.value = label.key()
            self.count("correction" if self._emit(entry, label, offset, time) else "refused")
        else:
            self.count("duplicate" if entry.value == label.key() else "contradicting")

    def _meet_all(self, entry: JoinEntry, came: list[Waiting]) -> None:
        """Join a prediction that comes after its labels: take the first label in time, then apply later corrections."""
        if not came:
            return
        labels = [self._label_reader.read_coerced(waiting.label) for waiting in came]
        merged: set[int] = set()
        for number, (waiting, label) in enumerate(zip(came, labels, strict=True)):
            if entry.state == _WAITING and abs(waiting.time - entry.time) <= self._rules.label_wait:
                until = max(entry.time, waiting.time) + self._rules.dedup_window
                after = range(number + 1, len(came))
                merged = {n for n in after if labels[n].kind == "correction" and came[n].time <= until}
                learned = _corrected(label, labels[max(merged)]) if merged else label
                self._join(entry, learned, waiting.offset, waiting.time)
                entry.value = label.key()
            elif number in merged:
                entry.value = label.key()
                self.count("correction")
            else:
                self._meet(entry, label, waiting.offset, waiting.time)

    def _join(self, entry: JoinEntry, label: EncodedLabel, offset: int, time: int) -> None:
        entry.state = _JOINED
        entry.joined_at = max(entry.time, time)
        entry.value = label.key()
        self.state.waiting_predictions -= 1
        self.count("joined" if self._emit(entry, label.as_first(), offset, time) else "refused")

    def _emit(self, entry: JoinEntry, label: EncodedLabel, offset: int, time: int) -> bool:
        """Add an example; return `False` if the user's weight function refuses it."""
        prediction = self._entries.prediction(entry.offset)
        try:
            self._reader.check(prediction)
        except CodecError as error:
            # Any client can write to a topic. The learner could not read this example, and would find a gap in its
            # lane.
            self.refused.append(NotWritten(label, offset, time, "codec", f"its prediction: {error}"))
            return False
        try:
            weighted = self._weighted(prediction, label)
        except Exception as error:  # noqa: BLE001 - user code may raise anything, and it concerns this label
            told = MASK if self._rules.private else error
            reason = f"the weight of this label: {type(error).__name__}: {told}"
            self.refused.append(NotWritten(label, offset, time, "weight", reason))
            return False
        self.emitted.append(Emitted(prediction, weighted, entry.offset, entry.time, offset, time))
        return True

    def _weighted(self, prediction: bytes, label: EncodedLabel) -> EncodedLabel:
        rules = self._rules
        factor = 1.0
        if rules.weights is not None and not isinstance(label.value, dict):
            factor = rules.weights.of(label.value)
        if rules.weight_of is not None and not isinstance(label.value, dict):
            factor = float(rules.weight_of(dict(self._reader.features(prediction)), label.value))
        if not 0.0 <= factor < math.inf:
            raise ValueError(f"{factor} is no weight; it must be finite and not negative")
        if factor == 1.0:
            return label
        decoded = label.decoded()
        return EncodedLabel.of(msgspec.structs.replace(decoded, weight=decoded.weight * factor))

    def _wait(self, key: bytes, label: EncodedLabel, offset: int, time: int) -> None:
        if self.state.predictions_clock > time + self._rules.label_wait:
            self.count("unknown")  # no prediction still to come can match it
            return
        waiting = self._waiting(key)
        # Count by the labels' own times. In a rebuild, labels whose wait is long over stay until the predictions have
        # been read too; a timely label must not be dropped because of them.
        if sum(each.time > time - self._rules.label_wait for each in waiting) >= _MOST_LABELS_AN_ID:
            self.count("duplicate")
            return
        waiting.append(Waiting(offset, time, label.encode()))
        self.state.waiting_labels += 1
        self._entries.queue_label(offset, time, key)
        if self._next_label_expiry is None:
            self._next_label_expiry = time + self._rules.label_wait
        self._entries.put_labels(key, waiting)

    def _come_before(self, key: bytes, until: int) -> list[Waiting]:
        """Remove and return the labels of an id up to `until`. Later labels belong to another prediction."""
        waiting = self._waiting(key)
        taken = [each for each in waiting if each.time <= until]
        if taken:
            self.state.waiting_labels -= len(taken)
            self._entries.put_labels(key, [each for each in waiting if each.time > until])
        return taken

    def _waiting(self, key: bytes) -> list[Waiting]:
        return self._entries.labels(key) if self.state.waiting_labels else []

    # --- waits that end ----------------------------------------------------------------------------

    def _expire_predictions(self, below: int | None = None) -> None:
        state, wait = self.state, self._rules.label_wait
        if (self._next_expiry is None or state.labels_clock <= self._next_expiry) and self._next_expiry != 0:
            return
        due: list[tuple[int, bytes]] = []
        self._next_expiry = None
        for offset, time, key in self._entries.predictions_from(state.examined):
            if below is not None and offset >= below:
                self._next_expiry = 0  # the rest was not examined
                break
            if state.labels_clock <= time + wait or (below is None and len(due) == _MOST_AT_ONCE):
                # After an outage thousands of waits end at once: later turns handle the rest.
                self._next_expiry = time + wait
                break
            due.append((offset, key))
        for offset, key in due:
            state.examined = offset + 1
            entry = self._entries.get(key)
            if entry is not None and entry.offset != offset and entry.behind:
                # If the wait of a later use is over, the labels of earlier uses have passed as well.
                entry = self._current(key, entry, state.labels_clock)
            if entry is not None and entry.offset == offset and entry.state == _WAITING:
                self._expire(key, entry)

    def _expire(self, key: bytes, entry: JoinEntry) -> None:
        rules = self._rules
        entry.state = _EXPIRED
        self.state.waiting_predictions -= 1
        if rules.on_timeout is not None:
            end = entry.time + rules.label_wait
            event_id = peek_event_id(self._entries.prediction(entry.offset))
            label = EncodedLabel.of(Label(event_id, rules.on_timeout, end, source="timeout"))
            self.count("timeout" if self._emit(entry, label, -1, end) else "timeout_refused")
        else:
            self.count("unlabelled")
        # No label can match the prediction any more; its queue entry stays until the id is evicted.
        self._entries.put_prediction(entry.offset, entry.time, key, b"")
        self._entries.put(key, entry)

    def _expire_labels(self) -> None:
        state, wait = self.state, self._rules.label_wait
        next_at = self._next_label_expiry
        if (next_at is None or state.predictions_clock <= next_at) and next_at != 0:
            return
        due = []
        self._next_label_expiry = None
        for offset, time, key in self._entries.queued_labels():
            if state.predictions_clock <= time + wait:
                self._next_label_expiry = time + wait
                break
            due.append((offset, key))
        for offset, key in due:
            self._entries.unqueue_label(offset)
            self._drop_label(key, offset)

    def _drop_label(self, key: bytes, offset: int) -> None:
        waiting = self._waiting(key)
        kept = [each for each in waiting if each.offset != offset]
        if len(kept) < len(waiting):
            self.state.waiting_labels -= 1
            self.count("unknown")
            self._entries.put_labels(key, kept)

    def _forget(self) -> None:
        clock = min(self.state.predictions_clock, self.state.labels_clock)
        if clock <= self._next_forget:
            return
        due = []
        for offset, time, key in self._entries.predictions_from(0):
            until = time + self._rules.remembered
            if clock <= until or offset >= self.state.examined:
                self._next_forget = until
                break
            due.append((offset, key))
        for offset, key in due:
            self._entries.delete_prediction(offset)
            entry = self._entries.get(key)
            if entry is not None and entry.offset == offset and self._next_use(key, entry) is None:
                self._entries.delete(key)

    # --- helpers -----------------------------------------------------------------------------------

    def _tick_predictions(self, time: int) -> None:
        self.state.predictions_clock = max(self.state.predictions_clock, time)

    def _tick_labels(self, time: int) -> None:
        self.state.labels_clock = max(self.state.labels_clock, time)

    def _soonest(self, time: int) -> None:
        if self._next_expiry is None:
            self._next_expiry = time + self._rules.label_wait

    def count(self, what: str) -> None:
        """Add one to the count of labels or predictions with this result."""
        self.state.counts[what] = self.state.counts.get(what, 0) + 1


def _corrected(label: EncodedLabel, correction: EncodedLabel) -> EncodedLabel:
    last = correction.decoded()
    return EncodedLabel.of(
        msgspec.structs.replace(label.decoded(), value=last.value, source=last.source, weight=last.weight)
    )
