"""Size limits of Avro messages: counts the values of a message before it is decoded.

The check runs only for schemas in which a few bytes can mean many values, or endlessly nested ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from schemas.codec import CodecError

Types: TypeAlias = Mapping[str, Any]
_DEEPEST: Final = 100
_MOST_VALUES: Final = 250_000
_PER_BYTE: Final = 100  # values for each byte of a message up to which no check is needed
_MOST_EXCESS: Final = 10_000
_SIZES: Final = {"null": 0, "boolean": 1, "float": 4, "double": 8, "int": 1, "long": 1, "string": 1, "bytes": 1}


class _Endless(Exception):  # noqa: N818
    """The schema is recursive, or its decoded size has no useful bound."""


def needs_walk(schema: Any, types: Types) -> bool:
    """Return whether a message of this schema can decode to far more values than its bytes.

    >>> needs_walk({"type": "array", "items": "null"}, {}), needs_walk({"type": "array", "items": "long"}, {})
    (True, False)
    """
    try:
        return _excess(schema, types, {}, 0) > _MOST_EXCESS
    except _Endless:
        return True


def _excess(node: Any, types: Types, known: dict[str, int | None], depth: int) -> int:
    """Return the number of values by which a value can exceed `_PER_BYTE` for each of its bytes."""
    if depth > _DEEPEST:
        raise _Endless
    if isinstance(node, list):
        return 1 - _PER_BYTE + max((_excess(branch, types, known, depth + 1) for branch in node), default=0)
    if isinstance(node, str) and node in _SIZES:
        return 1 - _PER_BYTE * _SIZES[node]
    name = node if isinstance(node, str) else node.get("name")
    if name is None:
        return _inner_excess(node, types, known, depth)
    if name not in known:
        known[name] = None
        known[name] = _inner_excess(types[name], types, known, depth)
    found = known[name]
    if found is None:
        raise _Endless  # the type contains itself
    return found


def _inner_excess(node: Any, types: Types, known: dict[str, int | None], depth: int) -> int:
    kind = node["type"]
    if kind in ("record", "error"):
        return 1 + sum(_excess(field["type"], types, known, depth + 1) for field in node["fields"])
    if kind in ("array", "map"):
        key = _PER_BYTE if kind == "map" else 0
        if _excess(node["items" if kind == "array" else "values"], types, known, depth + 1) > key:
            raise _Endless
        return 1 - _PER_BYTE
    return 1 - _PER_BYTE * (int(node["size"]) if kind == "fixed" else _SIZES.get(kind, 1))


class Walk:
    """One walk through a message, from `start` on.

    Raises
    ------
    CodecError
        By `whole`, if the bytes are truncated or hold too many values.
    """

    def __init__(self, data: bytes, start: int, types: Types) -> None:
        self._data = data
        self._at = start
        self._types = types
        self._most = min(_MOST_VALUES, _MOST_EXCESS + _PER_BYTE * (len(data) - start))
        self._left = self._most

    def whole(self, schema: Any) -> None:
        """Walk through one complete value."""
        self._value(schema, 0)

    def _value(self, node: Any, depth: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise CodecError(f"the message holds over {self._most:,} values in {len(self._data)} bytes")
        if depth > _DEEPEST:
            raise CodecError(f"the message is nested over {_DEEPEST} deep")
        if isinstance(node, list):
            branch = self._long()
            if not 0 <= branch < len(node):
                raise CodecError(f"damaged Avro: branch {branch} of a union of {len(node)}")
            self._value(node[branch], depth + 1)
            return
        if isinstance(node, str) and node not in _SIZES:
            node = self._types[node]  # only a bare name refers to a type: a record may also be named "array"
        kind = node if isinstance(node, str) else node["type"]
        if kind in ("record", "error"):
            for field in node["fields"]:
                self._value(field["type"], depth + 1)
        elif kind in ("array", "map"):
            self._blocks(node, kind == "map", depth)
        else:
            self._scalar(kind, node)

    def _scalar(self, kind: str, node: Any) -> None:
        if kind in ("string", "bytes"):
            self._skip(self._long())
        elif kind == "fixed":
            self._skip(node["size"])
        elif kind in ("int", "long", "enum"):
            self._long()
        else:
            self._skip(_SIZES[kind])

    def _blocks(self, node: Any, keyed: bool, depth: int) -> None:
        inner = node["values" if keyed else "items"]
        while count := self._long():
            if count < 0:
                count = -count
                self._long()  # the block's size in bytes, for readers that skip it
            for _ in range(count):
                if keyed:
                    self._skip(self._long())
                self._value(inner, depth + 1)

    def _skip(self, size: int) -> None:
        if not 0 <= size <= len(self._data) - self._at:
            raise CodecError(f"damaged Avro: {size} bytes where {len(self._data) - self._at} are left")
        self._at += size

    def _long(self) -> int:
        value = shift = 0
        while True:
            if self._at >= len(self._data) or shift > 63:
                raise CodecError(f"damaged Avro: no whole number at byte {self._at}")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7
