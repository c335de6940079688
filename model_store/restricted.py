"""Pickle, with an exact list of what a pickle may name.

A prefix list is no protection: `river.datasets.base` with a dotted name reaches `os`. The list in
`allowed.json` is made from River itself by `python -m model_store.allow_list`.
"""

from __future__ import annotations

import gc
import io
import json
import pickle
import pickletools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any, Final, NoReturn

from model_store.errors import CannotPickle, Damaged, NotAllowed

Global = tuple[str, str]
PROTOCOL: Final = 5


@cache
def allowed_globals() -> frozenset[Global]:
    """Return the (module, name) pairs that River's own models need."""
    listed = json.loads(resources.files("model_store").joinpath("allowed.json").read_text(encoding="utf-8"))
    return frozenset((module, name) for module, names in listed["globals"].items() for name in names)


@cache
def _allowed_attributes() -> frozenset[tuple[str, str, str]]:
    listed = json.loads(resources.files("model_store").joinpath("allowed.json").read_text(encoding="utf-8"))
    return frozenset((module, owner, name) for module, owner, name in listed["getattr"])


def dumps(model: object) -> bytes:
    """Return the pickle of a model.

    Raises
    ------
    CannotPickle
        Where it holds a lambda, a local class or an open file; the message names it.
    """
    try:
        return pickle.dumps(model, protocol=PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError, RecursionError) as error:
        raise CannotPickle(
            f"the model cannot be saved: {error}. A lambda inside it must become a def at the top of the stream file"
        ) from error


def loads(data: bytes, *, extra: frozenset[Global] = frozenset()) -> Any:
    """Return what was pickled, naming nothing but what is allowed.

    Garbage collection is off meanwhile: it would walk the half-made model again and again (33 MB: 128 ms
    with, 54 ms without).

    Raises
    ------
    NotAllowed
        Where the pickle names anything else; nothing of it was called.
    Damaged
        Where it is cut short or malformed.
    """
    loader = _Restricted(io.BytesIO(data), extra)
    with _no_collection():
        try:
            return loader.load()
        except NotAllowed:
            raise
        except RecursionError as error:
            raise Damaged("a pickle nested too deeply") from error
        except Exception as error:
            raise Damaged(f"a pickle that does not load: {type(error).__name__}: {error}") from error


class _Restricted(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, extra: frozenset[Global]) -> None:
        super().__init__(file)
        self._extra = extra

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _restricted_getattr
        if (module, name) in allowed_globals() or (module, name) in self._extra:
            return super().find_class(module, name)
        raise NotAllowed(f"the pickle names {module}.{name}, which no model of this stream needs")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise NotAllowed("the pickle refers to an object outside itself")


def _restricted_getattr(owner: Any, name: str) -> Any:
    """`getattr` for the bound methods that River's models hold, and no other."""
    kind = owner if isinstance(owner, type) else type(owner)
    key = (kind.__module__, kind.__qualname__, name)
    if key in _allowed_attributes():
        return getattr(owner, name)
    raise NotAllowed(f"the pickle asks for attribute {name!r} of {key[0]}.{key[1]}")


@contextmanager
def _no_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def globals_in(data: bytes) -> frozenset[Global]:
    """Return the (module, name) pairs that a pickle names, found by reading and without running it.

    Raises
    ------
    Damaged
        Where it cannot be read.
    """
    found: set[Global] = set()
    strings: list[str] = []
    memo: dict[int, str] = {}
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "GLOBAL":
                module, _, name = str(argument).partition(" ")
                found.add((module, name))
            elif opcode.name == "STACK_GLOBAL":
                found.add((strings[-2], strings[-1]))
            elif isinstance(argument, str) and "UNICODE" in opcode.name:
                strings.append(argument)
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = strings[-1] if strings else ""
            elif opcode.name in ("BINPUT", "LONG_BINPUT", "PUT"):
                memo[int(argument or 0)] = strings[-1] if strings else ""
            elif opcode.name in ("BINGET", "LONG_BINGET", "GET") and int(argument or 0) in memo:
                strings.append(memo[int(argument or 0)])
    except (ValueError, IndexError) as error:
        raise Damaged(f"a pickle that cannot be read: {error}") from error
    return frozenset(found)
