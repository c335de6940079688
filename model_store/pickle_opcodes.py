"""Check of a pickle's opcodes before anything in it runs.

Python's own unpickler trusts the lengths and memo numbers in a pickle: five bytes can make it allocate 32 GB of memory.
A pickle of protocol 5 never needs the opcodes that allow this (nor persistent ids, extension codes, or classes by
text), so they are refused, and every length is compared with the bytes that are there.
"""

from __future__ import annotations

import re
from typing import Final

from model_store.blobs import Readable
from model_store.errors import Damaged
from model_store.gil_pause import Breath, no_breath

# This matches runs of fixed-length opcodes in C: a model of 3 MB has half a million. The counts limit how long one
# match holds the interpreter lock, because a predictor answers while it loads. Possessive groups are avoided: before
# 3.11.4, Python's matcher loses their start position when they fail.
_PLAIN: Final = rb"N\x88\x89)\]}(\x8f\x90\x91\x94aesuRb\x81\x92\x9301"
_RUN: Final = re.compile(
    rb"(?:[" + _PLAIN + rb"]+|J.{4}|[hK].|M..|j.{4}|\x8a(?:\x04.{4}|\x05.{5})|G.{8}"
    rb"|[t\x85-\x87](?!\x94?[t\x85-\x87])"  # a tuple that is not part of another one
    rb"){1,2000}",
    re.DOTALL,
)
# The nesting of tuples is limited, because hashing one of a million levels overflows the process's stack.
_NESTED: Final = re.compile(rb"(?:[t\x85-\x87]\x94?){1,101}")
_DEEPEST: Final = 100
# Opcode: bytes of its length field. SHORT_BINBYTES, SHORT_BINUNICODE, LONG1; BINBYTES, BINUNICODE, LONG4;
# BINBYTES8, BINUNICODE8, BYTEARRAY8, and FRAME, whose content is opcodes again.
_COUNTED: Final = {0x43: 1, 0x8C: 1, 0x8A: 1, 0x42: 4, 0x58: 4, 0x8B: 4, 0x8E: 8, 0x8D: 8, 0x96: 8, 0x95: 8}
_FRAME: Final = 0x95
_STOP: Final = 0x2E
_TUPLES: Final = frozenset(b"t\x85\x86\x87")
_HEAD: Final = (b"\x80\x05", b"\x80\x04")


def check_opcodes(data: Readable, breath: Breath = no_breath) -> None:
    """Raise Damaged unless the data is a complete pickle of protocol 4 or 5 with only the opcodes that Python writes.

    Raises
    ------
    Damaged
        Its message has the position of the first error.
    """
    if data[:2] not in _HEAD:
        raise Damaged("not a pickle of protocol 4 or 5")
    at, size = 2, len(data)
    while at < size:
        breath()
        run = _RUN.match(data, at)
        if run is not None:
            at = run.end()
            continue
        opcode = data[at]
        if opcode in _TUPLES:
            at = _skip_tuples(data, at)
            continue
        if opcode == _STOP:
            if at + 1 != size:
                raise Damaged(f"a pickle that continues after its end, at byte {at + 1}")
            return
        at = _skip(data, at, opcode)
    raise Damaged("a pickle that is cut short")


def _skip_tuples(data: Readable, at: int) -> int:
    """Return the position after nested tuples."""
    found = _NESTED.match(data, at)
    assert found is not None  # noqa: S101 - the data begins with a tuple
    nested = found[0]
    if len(nested) > _DEEPEST and len(nested.replace(b"\x94", b"")) > _DEEPEST:
        raise Damaged(f"a pickle nested too deeply, at byte {at}")
    return found.end()


def _skip(data: Readable, at: int, opcode: int) -> int:
    """Return the position after an opcode with a length."""
    width = _COUNTED.get(opcode)
    if width is None:
        raise Damaged(f"a pickle with opcode 0x{opcode:02x} at byte {at}, which no model's pickle has")
    body = at + 1 + width
    end = body + int.from_bytes(data[at + 1 : body], "little")
    if end > len(data):
        raise Damaged(f"a pickle that states more bytes than it has, at byte {at}")
    return body if opcode == _FRAME else end
