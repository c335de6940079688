"""Fast reading of requests whose shape is known: the same names in the same order, all doubles.

Most events of a stream differ only in id, time and doubles. A shape is the other bytes of such an event: an integer
with these bytes, and a mask that covers them. If an event agrees with both, one `struct.unpack` reads it. What the
codec and the contract say about its names and types is then known, so only its numbers are checked.

`Questions` is the reference: it reads all other events, and each event of which this file is not sure. So this file
refuses no event, and a forgotten shape changes no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from operator import is_, le
from struct import Struct
from typing import Final, NamedTuple, TypeAlias

from consumers.predictor.feature_requests import FAR_FUTURE_MS, LONGEST_ID, Question, Questions
from runtime.kafka_client.records import Record
from schemas import codec
from schemas.codec import HEADER_BYTES
from schemas.contract import Contract, Range
from schemas.events import Event, Features

MOST_LENGTHS: Final = 64
MOST_OF_A_LENGTH: Final = 4
_MOST_CANDIDATES: Final = 256
_LARGEST: Final = 4 << 10  # bytes of an event; so all shapes together take at most a few MB
_EVENT_HEADER: Final = codec.EVENT.header
_DOUBLE: Final = b"\x06"  # branch of the features' union
_NO_ENTITY_KEY: Final = b"\x00"
_END: Final = b"\x00"  # of a map
# An event time of six bytes: July 1970 to September 2039. The lowest bit of the first byte is the sign; the highest bit
# of each byte says that another one follows.
_TIME: Final = b"\x80\x80\x80\x80\x80\x00"
_TIME_MASK: Final = b"\x81\x80\x80\x80\x80\x80"
# Bounds of the time's last four bytes, little-endian.
_EARLIEST: Final = 1 << 24  # below, the last byte is 0, and an encoder would not have written it
_AFTER_ALL: Final = 1 << 32

_Piece: TypeAlias = tuple[bytes, bytes, str]  # constant bytes, their mask, and their format for `struct`
_Key: TypeAlias = tuple[tuple[str, ...], int, int]  # names, bytes of the id, bytes of the event

_new: Final = tuple.__new__  # builds a NamedTuple in half the time


class Known(NamedTuple):
    """A request whose shape is known.

    `used` are the features for the model, `key` is the event's id in UTF-8, `numbers` are the values of `used` before
    the model had them.
    """

    shape: Shape
    used: Features
    key: bytes
    numbers: tuple[float, ...]


class Shape:
    """Events with the same names and types of features, and ids of one length.

    Parameters
    ----------
    names
        Names of the features, in their order.
    ranges
        The contract's range of each.
    id_bytes
        Length of the id in UTF-8.
    reencoded
        The reference encodes the features that the model leaves, instead of copying the sender's bytes.
    """

    __slots__ = ("_dropped", "_highs", "_lows", "_names", "_reencoded", "_unpack", "constant", "mask", "size")

    def __init__(self, names: Sequence[str], ranges: Sequence[Range | None], id_bytes: int, reencoded: bool) -> None:
        head = [
            _fixed(_EVENT_HEADER + codec.long(id_bytes)),
            (bytes(id_bytes), bytes(id_bytes), f"{id_bytes}s"),
            (_TIME, _TIME_MASK, "2xI"),
            _fixed(_NO_ENTITY_KEY),
        ]
        entries = [_fixed(codec.string(name) + _DOUBLE) for name in names]
        doubles = [(bytes(8), bytes(8), "8x" if each is None else "d") for each in ranges]
        pairs = [piece for pair in zip(entries, doubles, strict=True) for piece in pair]
        constants, masks, formats = zip(*head, _fixed(codec.long(len(names))), *pairs, _fixed(_END), strict=True)
        self.constant = int.from_bytes(b"".join(constants), "little")
        self.mask = int.from_bytes(b"".join(masks), "little")
        layout = Struct("<" + "".join(formats))
        self.size, self._unpack = layout.size, layout.unpack
        kept = [each for each in ranges if each is not None]
        self._names = tuple(name for name, each in zip(names, ranges, strict=True) if each is not None)
        self._lows, self._highs = tuple(low for low, _ in kept), tuple(high for _, high in kept)
        if all(low == -inf and high == inf for low, high in kept):
            self._lows = ()
        self._reencoded = reencoded
        self._dropped = None if len(kept) == len(names) else _Dropped(names, ranges, sum(len(each[0]) for each in head))

    def read(self, value: bytes, latest: int) -> Known | None:
        """Return the request in an event that agrees with constant and mask.

        The result is `None` unless its id, time and numbers are certainly valid. `latest` is the time's upper bound.
        """
        fields = self._unpack(value)
        key, numbers = fields[0], fields[2:]
        # A sum is finite only if all its terms are: NaN and infinities stay in it.
        if not _EARLIEST <= fields[1] < latest or (total := sum(numbers)) - total != 0.0:
            return None
        if self._lows and not (all(map(le, self._lows, numbers)) and all(map(le, numbers, self._highs))):
            return None
        if not key.isascii() and not codec.is_utf8(key):
            return None
        return _new(Known, (self, dict(zip(self._names, numbers)), key, numbers))  # noqa: B905 - strict takes its time

    def body(self, value: bytes, known: Known) -> bytes | None:
        """Return the bytes of the event's fields in the answer; `None` if the model has changed the features."""
        if self._reencoded:
            used = known.used
            if tuple(used) != self._names or not all(map(is_, used.values(), known.numbers)):
                return None
        return value[HEADER_BYTES:] if self._dropped is None else self._dropped.body(value)


class _Dropped:
    """The body of an event without the features that the contract drops, cut out of the sender's bytes."""

    def __init__(self, names: Sequence[str], ranges: Sequence[Range | None], end_of_head: int) -> None:
        self._head = slice(HEADER_BYTES, end_of_head)
        self._count = codec.long(len(ranges) - ranges.count(None))
        self._kept: list[slice] = []
        at = end_of_head + len(codec.long(len(names)))
        for name, limits in zip(names, ranges, strict=True):
            end = at + len(codec.string(name) + _DOUBLE) + 8
            if limits is not None:
                self._kept.append(slice(at, end))
            at = end

    def body(self, value: bytes) -> bytes:
        return b"".join([value[self._head], self._count, *[value[each] for each in self._kept], _END])


class KnownShapes:
    """Reads requests: those of a known shape here, all others by the reference.

    Parameters
    ----------
    questions
        The reference, for Millstream's own events.
    contract
        The contract of `questions`.
    """

    def __init__(self, questions: Questions, contract: Contract) -> None:
        self._questions = questions
        self._contract = contract
        self._shapes: dict[int, dict[_Key, Shape]] = {}  # by the length of their events
        self._once: set[_Key] = set()  # seen once, because a shape costs as much as a few events
        self._unfit: set[_Key] = set()  # always for the reference

    def read(self, records: Sequence[Record]) -> list[Known | Question]:
        """Return the requests in one partition's records."""
        latest = _upper_bound(min([record.timestamp for record in records], default=0) + FAR_FUTURE_MS)
        shapes, from_bytes = self._shapes, int.from_bytes
        read: list[Known | Question] = []
        for record in records:
            value = record.value
            if value and (alike := shapes.get(len(value))) is not None:
                number = from_bytes(value, "little")
                for shape in alike.values():
                    if number & shape.mask == shape.constant and (known := shape.read(value, latest)) is not None:
                        read.append(known)
                        break
                else:
                    read.append(self._ask(record))
            else:
                read.append(self._ask(record))
        return read

    def _ask(self, record: Record) -> Question:
        question = self._questions.ask(record)
        event, value = question.event, record.value
        if event is not None and value and len(value) <= _LARGEST and value.startswith(_EVENT_HEADER):
            self._note(event, len(value))
        return question

    def _note(self, event: Event, size: int) -> None:
        """Make the shape of an event when a second one like it has come."""
        features, id_bytes = event.features, len(event.event_id.encode())
        if not (0 < id_bytes <= LONGEST_ID and features and all(type(value) is float for value in features.values())):
            return
        key = tuple(features), id_bytes, size
        if key in self._unfit or key in self._shapes.get(size, ()):
            return
        if key not in self._once:
            _add(self._once, key)
            return
        self._once.remove(key)
        ranges = self._contract.ranges(key[0])
        shape = None if ranges is None else Shape(key[0], ranges, id_bytes, bool(self._contract.features))
        if shape is None or shape.size != size:  # such as a map in several blocks
            _add(self._unfit, key)
            return
        if size not in self._shapes and len(self._shapes) == MOST_LENGTHS:
            del self._shapes[next(iter(self._shapes))]
        alike = self._shapes.setdefault(size, {})
        if len(alike) == MOST_OF_A_LENGTH:
            del alike[next(iter(alike))]
        alike[key] = shape


def _add(keys: set[_Key], key: _Key) -> None:
    if len(keys) == _MOST_CANDIDATES:
        keys.clear()
    keys.add(key)


def _fixed(data: bytes) -> _Piece:
    return data, b"\xff" * len(data), f"{len(data)}x"


def _upper_bound(time: int) -> int:
    """Return the bound of an event time's last four bytes, for a time in ms; below it, the event is earlier."""
    encoded = codec.long(max(time, 0))
    if len(encoded) != len(_TIME):
        return 0 if len(encoded) < len(_TIME) else _AFTER_ALL
    return int.from_bytes(encoded[2:], "little")
