"""Pickle with an exact list of the names that a pickle may use.

A list of prefixes does not protect: `river.datasets.base` with a dotted name reaches `os`. `python -m
model_store.generate_allowed_names` generates the list in `allowed_pickle_names.json` from River itself.

It is the second line of defence, after the signature. It prevents a pickle from running anything except the parts of
River's models. It does not prevent the holder of a signing key from signing a model that uses all memory or time.
"""

from __future__ import annotations

import gc
import io
import json
import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from types import FunctionType
from typing import Any, Final, NoReturn

from model_store.blobs import Blob, Readable
from model_store.code_names import own_name
from model_store.errors import CannotPickle, Damaged, PickleNotAllowed, StoreUnavailable
from model_store.gil_pause import Breath, no_breath
from model_store.pickle_globals import Global, globals_in
from model_store.pickle_opcodes import check_opcodes

__all__ = ["PROTOCOL", "Find", "Global", "allowed_globals", "dump", "dumps", "globals_in", "loads"]

PROTOCOL: Final = 5
Find = Callable[[str, str], Any]
"""Function that returns the object with a module's name and a qualified name."""


@cache
def _listed() -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(
        resources.files("model_store").joinpath("allowed_pickle_names.json").read_text(encoding="utf-8")
    )
    return listed


@cache
def allowed_globals() -> frozenset[Global]:
    """Return the (module, name) pairs that River's own models need."""
    return frozenset((module, name) for module, names in _listed()["globals"].items() for name in names)


@cache
def _allowed_attributes() -> frozenset[tuple[str, str, str]]:
    return frozenset((module, owner, name) for module, owner, name in _listed()["getattr"])


def dumps(model: object) -> bytes:
    """Return the pickle of a model.

    Raises
    ------
    CannotPickle
        If the model holds a lambda, a local class or an open file; the message names it.
    """
    with dump(model) as blob:
        return bytes(blob.contents())


def dump(model: object) -> Blob:
    """Return the pickle of a model; a large one goes to a file, never completely to memory. Raises like `dumps`."""
    blob = Blob()
    try:
        pickle.Pickler(blob, protocol=PROTOCOL).dump(model)
        return blob
    except StoreUnavailable:
        raise
    except RecursionError as error:
        raise CannotPickle("the model cannot be saved: it is nested too deeply; bound its depth") from error
    except Exception as error:  # __reduce__ and __getstate__ may raise anything
        culprit = _Culprit().find(model)
        if culprit is None:
            raise CannotPickle(
                f"the model cannot be saved: {error}. Put what it names at the top of the stream file, or leave it out"
            ) from error
        raise CannotPickle(
            f"the model cannot be saved: it holds {culprit}. Make it a def (or class) at the top of the stream file"
        ) from error


class _Culprit:
    """Pickles again, slowly, to find the object that a loader could not find by name."""

    def find(self, model: object) -> str | None:
        found: list[str] = []

        class Naming(pickle.Pickler):
            def reducer_override(self, value: Any) -> Any:
                if isinstance(value, (FunctionType, type)) and "<" in value.__qualname__:
                    found.append(_describe(value))
                return NotImplemented

        try:
            Naming(io.BytesIO(), protocol=PROTOCOL).dump(model)
        except Exception:  # noqa: BLE001 - it fails again as expected; the culprit is now recorded
            return found[-1] if found else None
        return None


def _describe(value: Any) -> str:
    if not isinstance(value, FunctionType):
        return f"the class {value.__qualname__} of {value.__module__}, made inside a function"
    kind = "a lambda" if value.__name__ == "<lambda>" else f"the function {value.__name__}, made inside another"
    return f"{kind} ({value.__code__.co_filename}, line {value.__code__.co_firstlineno})"


def loads(
    data: Readable,
    *,
    extra: frozenset[Global] = frozenset(),
    find: Find | None = None,
    breath: Breath = no_breath,
) -> Any:
    """Return the unpickled object; only allowed names can be used.

    `find` looks up the names in `extra`; if it is missing they are imported.

    Garbage collection is off meanwhile, because it would scan the incomplete model repeatedly (a model of 33 MB loads
    in 128 ms with it, in 54 ms without).

    Raises
    ------
    PickleNotAllowed
        If the pickle uses any other name; nothing of it was called.
    Damaged
        If the pickle is truncated or malformed.
    """
    check_opcodes(data, breath)
    loader = _Restricted(_Frames(data, breath), extra, find)
    with _no_collection():
        try:
            return loader.load()
        except (PickleNotAllowed, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # River's compiled parts panic with a BaseException on invalid data
            raise Damaged(f"a pickle that does not load: {type(error).__name__}: {error}") from error


class _Frames:
    """Passes a pickle to the unpickler in pieces.

    The unpickler calls Python code for each frame (64 kB), so other threads can run between frames: a predictor answers
    while the next version loads.
    """

    def __init__(self, data: Readable, breath: Breath) -> None:
        self._file = io.BytesIO(data) if isinstance(data, bytes) else data
        self._breath = breath

    def read(self, size: int) -> bytes:
        self._breath()
        return self._file.read(size)

    def readinto(self, into: Any) -> int:
        self._breath()
        # A memory-mapped file has no `readinto`.
        piece = self._file.read(len(into))
        into[: len(piece)] = piece
        return len(piece)

    def readline(self) -> bytes:
        return self._file.readline()


class _Restricted(pickle.Unpickler):
    def __init__(self, file: _Frames, extra: frozenset[Global], find: Find | None) -> None:
        super().__init__(file)
        self._extra = extra
        self._find = find or super().find_class

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _REPLACED:
            return _REPLACED[module, name]
        if (module, name) in allowed_globals():
            return super().find_class(module, name)
        # A model that ran with a version's own code is saved with that namespace's names; the loader chooses the
        # namespace.
        module = own_name(module)
        if (module, name) in self._extra:
            return self._find(module, name)
        raise PickleNotAllowed(f"the pickle names {module}.{name}, which no model of this stream needs")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise PickleNotAllowed("the pickle refers to an object outside itself")


def _restricted_getattr(owner: Any, name: str) -> Any:
    """Return an attribute, but only for the bound methods that River's models hold."""
    kind = owner if isinstance(owner, type) else type(owner)
    key = (kind.__module__, kind.__qualname__, name)
    if key in _allowed_attributes():
        return getattr(owner, name)
    raise PickleNotAllowed(f"the pickle asks for attribute {name!r} of {key[0]}.{key[1]}")


def _iterator_of(items: Iterable[Any]) -> Iterator[Any]:
    """Return an iterator over existing items; `iter` with a function and a sentinel could run for ever."""
    return iter(items)


def _short_range(*bounds: int) -> range:
    """Return a short range, as in parameters of n-grams; a long one, turned into a list, would fill the memory."""
    made = range(*bounds)
    if len(made) > _LONGEST_RANGE:
        raise PickleNotAllowed(f"the pickle has a range of {len(made)} numbers")
    return made


_REPLACED: Final = {
    ("builtins", "getattr"): _restricted_getattr,
    ("builtins", "iter"): _iterator_of,
    ("builtins", "range"): _short_range,
}
_LONGEST_RANGE: Final = 1000


@contextmanager
def _no_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
