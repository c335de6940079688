"""Global names in a pickle, found by simulating the unpickler without running anything.

A pickle that pushes and pops values can mislead tools that only look at the last strings before a name. So this module
simulates the stack and the memo.
"""

from __future__ import annotations

import pickletools
from typing import Any, Final

from model_store.errors import Damaged, PickleNotAllowed

Global = tuple[str, str]

_MARK: Final = object()
_STORES: Final = {"PUT", "BINPUT", "LONG_BINPUT"}
_FETCHES: Final = {"GET", "BINGET", "LONG_BINGET"}
_BY_TEXT: Final = {"GLOBAL", "INST"}
_BY_CODE: Final = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}


def globals_in(data: bytes) -> frozenset[Global]:
    """Return the (module, name) pairs that a pickle names.

    Raises
    ------
    PickleNotAllowed
        If it names something by a number or a computed string, so that the name is unknown.
    Damaged
        If the pickle is malformed.
    """
    reader = _StackMachine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            reader.take(opcode, argument)
    except (ValueError, IndexError, KeyError, RecursionError) as error:
        raise Damaged(f"a pickle that cannot be read: {error}") from error
    return frozenset(reader.found)


class _StackMachine:
    """Simulated stack machine whose values are strings, marks, and `None` for all else."""

    def __init__(self) -> None:
        self.found: set[Global] = set()
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def take(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        if name in _BY_CODE:
            raise PickleNotAllowed(f"the pickle names something by {name}")
        if name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in _STORES:
            self._memo[argument] = self._stack[-1]
        elif name in _FETCHES:
            self._stack.append(self._memo[argument])
        elif name == "DUP":
            self._stack.append(self._stack[-1])
        elif name == "POP":  # also removes a mark
            self._stack.pop()
        else:
            self._apply(opcode, argument)

    def _apply(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        if opcode.name in _BY_TEXT:
            module, _, name = argument.partition(" ")
            self.found.add((module, name))
        elif opcode.name == "STACK_GLOBAL":
            module, name = self._stack[-2:]
            if not isinstance(module, str) or not isinstance(name, str):
                raise PickleNotAllowed("the pickle computes the name of something")
            self.found.add((module, name))
        self._pop(opcode)
        if opcode.name == "MARK":
            self._stack.append(_MARK)
        else:
            text = argument if isinstance(argument, str) and "UNICODE" in opcode.name else None
            self._stack.extend([text] * len(opcode.stack_after))

    def _pop(self, opcode: pickletools.OpcodeInfo) -> None:
        before = opcode.stack_before
        if pickletools.markobject in before:
            while self._stack.pop() is not _MARK:
                pass
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            self._stack.pop()
