"""Labels with their encoded fields: a plain label keeps the bytes that its sender wrote.

A label is plain if the Avro library would read it, the target would leave its value as it is, and the library would
write the same bytes again. These bytes then go into the example. All other labels are decoded, coerced and encoded.
"""

from __future__ import annotations

import math
import re
from struct import Struct
from typing import Final, Literal

import msgspec

from runtime.kafka_client import size_limits
from schemas import codec
from schemas.codec import HEADER_BYTES, CodecError
from schemas.events import Label, LabelValue, read_label
from schemas.target import Target, TargetError

Kind = Literal["label", "correction"]

_HEADER: Final = codec.LABEL.header
_DOUBLE: Final = Struct("<d").unpack_from
_ONE: Final = Struct("<d").pack(1.0)
_DOUBLE_FOLLOWS: Final = b"\x04"  # branches of the union of a label's value
_TEXT_FOLLOWS: Final = b"\x06"
_ONE_BYTE: Final = 0x7F  # the largest varint of one byte
_KINDS: Final[dict[bytes, Kind]] = {b"\x00": "label", b"\x02": "correction"}
_MOST_VALUES: Final = 1000
# The shortest form of a varint: the Avro library also reads longer ones, but writes them in this form.
_NUMBER: Final = rb"(?:[\x80-\xff]{0,8}[\x01-\x7f]|\x00)"
_AFTER_VALUE: Final = rb"(.{8})" + _NUMBER + rb"[\x00\x02\x04\x06]([\x00\x02])\Z"  # weight, time, source, kind
_AFTER_TEXT: Final = re.compile(_AFTER_VALUE, re.DOTALL)
_AFTER_ID: Final = re.compile(rb"(\x00[\x00\x01]|\x02" + _NUMBER + rb"|\x04.{8})" + _AFTER_VALUE, re.DOTALL)


class EncodedLabel(msgspec.Struct, frozen=True, gc=False):
    """A label whose value is coerced, with its encoded fields.

    Attributes
    ----------
    event_id
        UTF-8.
    body
        The fields as Avro, without a header.
    """

    event_id: bytes
    value: LabelValue
    kind: Kind
    body: bytes

    @classmethod
    def of(cls, label: Label) -> EncodedLabel:
        """Encode a label. Raises CodecError if a value does not fit the schema."""
        body = codec.LABEL.encode_body(msgspec.structs.asdict(label))
        return cls(label.event_id.encode(), label.value, label.kind, body)

    def decoded(self) -> Label:
        return Label(**codec.LABEL.decode_body(self.body))

    def encode(self) -> bytes:
        """Return header and body."""
        return _HEADER + self.body

    def as_first(self) -> EncodedLabel:
        """Return it as kind ``label``: the first label of an id is its label, even if it was sent as a correction."""
        if self.kind == "label":
            return self
        return EncodedLabel(self.event_id, self.value, "label", self.body[:-1] + b"\x00")  # the kind is the last byte

    def key(self) -> bytes:
        """Return a key that is equal only for labels of equal type and value: True is not 1."""
        if self.value.__class__ is bool:
            return b"bool:True" if self.value else b"bool:False"
        return f"{type(self.value).__name__}:{self.value!r}".encode()


class LabelReader:
    """Reads labels and coerces their values; each partition has one object."""

    def __init__(self, target: Target) -> None:
        self._target = target
        # By their encoded form, values that the target leaves as they are, and `None` for the others.
        self._values: dict[bytes, tuple[LabelValue] | None] = {}

    def read(self, data: bytes, default_time: int) -> EncodedLabel:
        """Read a label in Avro or JSON; `default_time` (ms) is used if the JSON has no time.

        Raises
        ------
        CodecError
            If the bytes are no label, or too many.
        TargetError
            If the value is invalid for the target.
        """
        if (plain := self.plain(data)) is not None:
            return plain
        if len(data) > size_limits.LABEL:
            raise CodecError(f"the label has {len(data)} bytes; at most {size_limits.LABEL} are taken")
        label = read_label(data, default_time=default_time)
        label = msgspec.structs.replace(label, value=self._target.coerce(label.value))
        if data[:1] == b"{":
            label.encode()  # JSON can say what Avro cannot
        return EncodedLabel.of(label)

    def read_coerced(self, data: bytes) -> EncodedLabel:
        """Read a label that was encoded after its value was coerced."""
        return self.plain(data) or EncodedLabel.of(Label(**codec.LABEL.decode(data)))

    def plain(self, data: bytes) -> EncodedLabel | None:
        """Read a plain label in Avro; `None` if it is not plain."""
        if not data.startswith(_HEADER) or len(data) <= HEADER_BYTES:
            return None
        length = data[HEADER_BYTES]
        if length > _ONE_BYTE or length & 1:
            return None
        at = HEADER_BYTES + 1 + (length >> 1)
        event_id = data[HEADER_BYTES + 1 : at]
        match = _AFTER_ID.match(data, at)
        found = _of_text(data, at) if match is None else match.groups()
        if found is None or not event_id.isascii():
            return None
        encoded, weight, kind = found
        if weight != _ONE and not 0.0 <= _DOUBLE(weight)[0] < math.inf:
            return None
        known = self._values[encoded] if encoded in self._values else self._value(encoded, data)
        return None if known is None else EncodedLabel(event_id, known[0], _KINDS[kind], data[HEADER_BYTES:])

    def _value(self, encoded: bytes, data: bytes) -> tuple[LabelValue] | None:
        """Return the value of label `data` if the target leaves it as it is; remember the answer."""
        if encoded.startswith(_DOUBLE_FOLLOWS):
            value: LabelValue = _DOUBLE(encoded, 1)[0]
            return self._unchanged(value)  # not remembered: most doubles occur once
        if len(self._values) == _MOST_VALUES:
            return None
        try:
            found = self._unchanged(codec.LABEL.decode(data)["value"])
        except CodecError:
            found = None
        self._values[encoded] = found
        return found

    def _unchanged(self, value: LabelValue) -> tuple[LabelValue] | None:
        try:
            coerced = self._target.coerce(value)
        except TargetError:
            return None
        return (value,) if coerced.__class__ is value.__class__ and coerced == value else None


def _of_text(data: bytes, at: int) -> tuple[bytes, bytes, bytes] | None:
    """Return the encoded value, weight and kind of a label whose value is a short text; `None` if it is not one."""
    if data[at : at + 1] != _TEXT_FOLLOWS or len(data) < at + 2:
        return None
    length = data[at + 1]
    end = at + 2 + (length >> 1)
    match = None if length > _ONE_BYTE or length & 1 else _AFTER_TEXT.match(data, end)
    return None if match is None else (data[at:end], match[1], match[2])
