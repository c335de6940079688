"""Edits of a rebuilt version's history: examples left out of the log and labels corrected in it.

The log itself does not change. A rebuilt epoch keeps its edits beside its first version, signed with it, so that every
version of the epoch can be rebuilt from the log.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from runtime.kafka_client.records import Record
from schemas.codec import CodecError
from schemas.events import Example, FeatureValue, Label, read_example
from schemas.fast_examples import EntryReader, FastExample, entry_of

_DIGEST_BYTES: Final = 16


class UnusableEdits(ValueError):  # noqa: N818
    """A version's edits cannot be read by this program."""


def digest(event_id: str) -> str:
    """Return the hash that replaces an id in edits, so that a forgotten person's id is not listed there."""
    return hashlib.blake2b(event_id.encode(), digest_size=_DIGEST_BYTES).hexdigest()


class Edits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events and labels to leave out of a history, and corrections to apply. One matching rule leaves an example out.

    Attributes
    ----------
    until
        Offset of the examples log from which on the log is learned unchanged.
    without
        `digest` of the ids of left-out events, sorted.
    where
        Feature values, spelt as text: events that have all of them are left out.
    labels_from, labels_to, source
        Examples whose label came in this period (broker time in ms, end excluded) from this source are left out; `None`
        means any. If all three are `None`, no example is left out by its label.
    corrections
        True if a corrected example is learned with the last correction before `until` on the log.
    """

    until: int
    without: list[str] = []
    where: dict[str, str] = {}
    labels_from: int | None = None
    labels_to: int | None = None
    source: str | None = None
    corrections: bool = False

    @property
    def by_label(self) -> bool:
        """Return whether examples are left out by their label."""
        return (self.labels_from, self.labels_to, self.source) != (None, None, None)

    @property
    def change_nothing(self) -> bool:
        """Return whether the history equals the log."""
        return not (self.without or self.where or self.by_label or self.corrections)

    def encode(self) -> bytes:
        return msgspec.json.encode(self, order="sorted")

    @classmethod
    def decode(cls, data: bytes) -> Edits:
        """Read what `encode` wrote; raise UnusableEdits on anything else."""
        try:
            return _read(data)
        except (msgspec.DecodeError, RecursionError) as error:
            raise UnusableEdits(f"the version's edits are of another format: {error}") from error

    def has_bad_label(self, example: Example) -> bool:
        """Return whether an example's label is one that the edits leave out."""
        label = example.label
        if not self.by_label or label is None or (self.source is not None and label.source != self.source):
            return False
        came = _came(example, label)
        after = self.labels_from is None or came >= self.labels_from
        return after and (self.labels_to is None or came < self.labels_to)


_read: Final = msgspec.json.Decoder(Edits).decode
NO_EDITS: Final = Edits(until=0)


def _came(example: Example, label: Label) -> int:
    """Return a label's broker time; for an imported or timed-out label, the time written in it."""
    joined = example.joined
    return joined.label_time if joined is not None and joined.label_time >= 0 else label.label_time


def _is(value: FeatureValue, text: str) -> bool:
    """Return whether a feature has the value that a user typed.

    >>> _is(17, "17"), _is("17", "17"), _is(True, "true"), _is(1.5, "1.50"), _is(None, "")
    (True, True, True, True, False)
    """
    if isinstance(value, str):
        return value == text
    if isinstance(value, bool):
        return text.lower() == str(value).lower()
    if isinstance(value, (int, float)):
        return _is_number(value, text)
    return False


def _is_number(value: float, text: str) -> bool:
    """Return whether a text spells a number exactly: compared as doubles, several large ids would be equal.

    >>> _is_number(1234567890123456000, "1234567890123456001"), _is_number(17, "17.0"), _is_number(0.1, "0.1")
    (False, True, True)
    """
    if isinstance(value, float):
        try:
            return float(text) == value
        except ValueError:
            return math.isnan(value) and text.lower() == "nan"
    try:
        return Decimal(text) == value
    except InvalidOperation:
        return False


Place = tuple[str, int, int]


class Editor:
    """Reads the log with its edits applied.

    Parameters
    ----------
    right
        Corrected labels, by id, partition and offset of the prediction that they belong to.
    """

    def __init__(self, edits: Edits, right: Mapping[Place, Label]) -> None:
        self._edits = edits
        self._right = right
        self._without = frozenset(edits.without)
        self._reader = EntryReader()

    def read(self, record: Record) -> tuple[FastExample, bool]:
        """Return the example that a record holds, and whether it is left out. Raises CodecError if it holds none."""
        data = record.value or b""
        if self._edits.change_nothing or record.offset >= self._edits.until:
            return self._reader.read(data), False
        example = read_example(data)
        if _is_correction(example):
            return entry_of(example), False  # a correction is not learned by itself
        place = _place(example) if self._right else None
        right = None if place is None else self._right.get(place)
        if right is not None and example.label is not None:
            label = msgspec.structs.replace(example.label, value=right.value, weight=right.weight, source=right.source)
            example = msgspec.structs.replace(example, label=label)
        bad = right is None and self._edits.has_bad_label(example)
        return entry_of(example), bad or self._is_to_be_forgotten(example)

    def _is_to_be_forgotten(self, example: Example) -> bool:
        where, features = self._edits.where, example.event.features
        if where and all(_is(features.get(name), text) for name, text in where.items()):
            return True
        return bool(self._without) and digest(example.event.event_id) in self._without


def editor(edits: Edits, records: Iterable[Record]) -> Editor:
    """Return an `Editor`; `records` are all records of the history, from its beginning to its end.

    They are read only if corrections are wanted: a correction stands after its label on the log.
    """
    right: dict[Place, Label] = {}
    for record in records if edits.corrections else ():
        if record.offset >= edits.until:
            break
        try:
            example = read_example(record.value or b"")
        except CodecError:
            continue
        place = _place(example)
        if example.label is None or place is None or not _is_correction(example) or edits.has_bad_label(example):
            continue
        right[place] = example.label
    return Editor(edits, right)


def _is_correction(example: Example) -> bool:
    return example.label is not None and example.label.kind == "correction"


def _place(example: Example) -> Place | None:
    """Return an example's id, and partition and offset of its prediction; `None` if it was imported.

    Offsets alone are not unique: in a topic that was created again they start again.
    """
    joined = example.joined
    return None if joined is None else (example.event.event_id, joined.partition, joined.prediction_offset)
