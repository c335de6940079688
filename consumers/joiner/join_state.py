"""Rules, stored entries and results of a join, with the byte format of the entries."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from consumers.joiner.labels import EncodedLabel
from schemas.events import Features, LabelValue, Scalar
from schemas.label_spelling import ByClass
from schemas.target import Target

Weight = Callable[[Features, Scalar], float]


@dataclass(frozen=True)
class JoinRules:
    """Rules for matching labels with predictions. Durations are in ms.

    Attributes
    ----------
    on_timeout
        The label value to learn if no label came in time; `None` drops the event.
    weight_of, weights
        A weight function of features and label, or a weight for each class.
    private
        True if predictions may have features whose values are not shown.
    """

    target: Target
    label_wait: int
    dedup_window: int
    on_timeout: LabelValue | None = None
    learn_from_events: bool = False
    weights: ByClass | None = None
    weight_of: Weight | None = None
    private: bool = False

    @property
    def remembered(self) -> int:
        """Return for how long after its prediction a label can still match an id."""
        return self.label_wait + max(self.label_wait, self.dedup_window)

    @property
    def read_again(self) -> int:
        """Return how far before the older of its clocks a rebuild begins to read.

        A label that still waits for its prediction can be one label wait older than that clock. To tell it from a label
        that was counted long ago, the rebuild also needs the prediction for which that one came too late.
        """
        return self.label_wait + self.remembered


class Emitted(msgspec.Struct, frozen=True, gc=False):
    """One example to write: the prediction's bytes, the label if any, and the offsets and times of both."""

    prediction: bytes
    label: EncodedLabel | None
    prediction_offset: int
    prediction_time: int
    label_offset: int
    label_time: int


class NotWritten(msgspec.Struct, frozen=True, gc=False):
    """A label whose example was not written: its weight function failed, or its prediction cannot be read."""

    label: EncodedLabel
    offset: int
    time: int
    code: str
    reason: str


class Waiting(msgspec.Struct, array_like=True, gc=False):
    """A label whose prediction has not arrived."""

    offset: int
    time: int
    label: bytes


class JoinEntry(msgspec.Struct, array_like=True, gc=False):
    """The state of one id's prediction: waiting, joined or expired.

    `behind` holds time and offset of the predictions of later uses of the id. Each use stays behind the one before it
    until no label can match that one any more.

    Entries are small because the store keeps them in the order of ids, which is random. The prediction itself is stored
    in the order of offsets, and labels without a prediction are stored separately.
    """

    state: int
    time: int
    offset: int
    joined_at: int = 0
    value: bytes = b""
    behind: list[tuple[int, int]] = []

    def last_time(self) -> int:
        """Return the time of the id's last use."""
        return self.behind[-1][0] if self.behind else self.time


@dataclass
class JoinState:
    """The position of one partition's join: its clocks, its counts and how far it has examined.

    `predictions_clock` and `labels_clock` are the newest broker times seen (ms); `examined` is the offset
    up to which predictions have been looked at for expiry.
    """

    predictions_clock: int = 0
    labels_clock: int = 0
    examined: int = 0
    waiting_predictions: int = 0
    waiting_labels: int = 0
    counts: dict[str, int] = field(default_factory=dict)


pack_entry = msgspec.msgpack.Encoder().encode
unpack_entry = msgspec.msgpack.Decoder(JoinEntry).decode
PLACE_BYTES: Final = 8  # of an offset or a time
QUEUE_KEY_BYTES: Final = 3 + PLACE_BYTES
QUEUED: Final = struct.Struct(">QH")  # time, and the length of the key that follows; then the prediction
unpack_waiting = msgspec.msgpack.Decoder(list[Waiting]).decode


def check_entry(key: bytes, value: bytes) -> None:
    """Raise ValueError unless the pair is a valid entry of a join."""
    kind = key[:1]
    if kind == b"p":
        size = len(value) - QUEUED.size
        if len(key) != QUEUE_KEY_BYTES or size < 0 or size < QUEUED.unpack_from(value)[1]:
            raise ValueError("a prediction that is cut short")
    elif kind == b"e":
        unpack_entry(value)
    elif kind == b"w":
        unpack_waiting(value)
    elif kind != b"l" or len(key) != QUEUE_KEY_BYTES or len(value) <= PLACE_BYTES:
        raise ValueError("neither a prediction nor a label")
