"""Parts of a model: every parameter with its path, in a fixed order.

The definition (is it the same model?) and the checks (is a part unseeded, a lambda, an aggregate over
time?) use the same parts.
"""

from __future__ import annotations

import builtins
import dataclasses
import datetime
import enum
import functools
import hashlib
import inspect
import io
import logging
import os
import pickle
import random
import threading
import types
from collections import UserList, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from river import base, compose

from millstream.stream.source_slice import Name
from model_store.code_names import own_name

_PLAIN: Final = (type(None), bool, int, float, complex, str, bytes)
_CONTAINERS: Final = (list, tuple, deque, range, Mapping, set, frozenset)
_CALLABLES: Final = (types.FunctionType, types.MethodType, functools.partial)
# Their contents belong to the process and not to the model.
_NO_PARAMETERS: Final = (
    logging.Logger,
    io.IOBase,
    os.PathLike,
    datetime.date,
    datetime.time,
    type(threading.Lock()),
    type(threading.RLock()),
)
_DEEPEST: Final = 60
_LONG: Final = 200
_MANY: Final = 200
_MOST_BITS: Final = 500


class Part(NamedTuple):
    """One part of a model.

    `path` begins with ``model``; `text` describes the part itself without its contents.
    """

    path: str
    value: Any
    text: str


def walk(value: Any, path: str = "model", own: Callable[[str], bool] = lambda module: False) -> Iterator[Part]:
    """Yield the parts of a new model, outermost first.

    Parameters
    ----------
    own
        Returns whether a module is the user's: the code of its functions and classes counts as well, of all others
        only the name.
    """
    yield from _Walk(own).walk(value, path)


def qualname(kind: Any) -> str:
    """Return module and qualified name."""
    module = own_name(getattr(kind, "__module__", None) or "builtins")
    name = getattr(kind, "__qualname__", None) or type(kind).__qualname__
    return f"{module}.{name}"


def own_names(parts: Iterable[Part], own: Callable[[str], bool]) -> set[Name]:
    """Return the user's top-level classes and functions among the parts, and the classes of parts."""
    found: set[Name] = set()
    for part in parts:
        value = part.value
        for kind in (value if isinstance(value, (type, types.FunctionType)) else type(value),):
            module, name = getattr(kind, "__module__", None) or "", kind.__qualname__.partition(".")[0]
            if not own(module):
                continue
            # A lambda in the stream's own statement has no name, but the names that it uses count.
            names = _names(kind.__code__) if isinstance(kind, types.FunctionType) and name[:1] == "<" else {name}
            found.update(Name(own_name(module), each) for each in names)
    return found


class _Walk:
    def __init__(self, own: Callable[[str], bool]) -> None:
        self._own = own
        self._open: set[int] = set()
        self._described: dict[int, Any] = {}  # the user's functions and classes, each described in full only once

    def walk(self, value: Any, path: str) -> Iterator[Part]:
        if isinstance(value, _PLAIN):
            yield Part(path, value, _shown(value))
            return
        if id(value) in self._open or len(self._open) > _DEEPEST:
            yield Part(path, value, f"({type(value).__qualname__} as above)")
            return
        self._open.add(id(value))
        try:
            yield from self._composed(value, path)
        finally:
            self._open.discard(id(value))

    def _composed(self, value: Any, path: str) -> Iterator[Part]:
        if isinstance(value, type):
            yield from self._class(value, path)
        elif isinstance(value, enum.Enum):
            yield Part(path, value, f"{qualname(type(value))}.{value.name}")
        elif _is_wrapper(value):
            # A function inside a cache, or inside another decorator object.
            yield Part(path, value, f"{qualname(type(value))} of a function")
            yield from self.walk(value.__wrapped__, f"{path}.__wrapped__")
        elif isinstance(value, _CALLABLES):
            yield from self._callable(value, path)
        elif isinstance(value, (types.BuiltinFunctionType, types.ModuleType)):
            yield Part(path, value, own_name(value.__name__) if inspect.ismodule(value) else qualname(value))
        elif isinstance(value, _CONTAINERS):
            yield from self._container(value, path)
        else:
            yield from self._object(value, path)

    def _container(self, value: Any, path: str) -> Iterator[Part]:
        if value is os.environ:
            yield Part(path, value, "the environment")
            return
        if len(value) > _MANY:
            yield Part(path, value, f"{type(value).__qualname__} of {len(value)}, {_state(value)}")
            return
        yield Part(path, value, f"{type(value).__qualname__} of {len(value)}")
        if isinstance(value, Mapping):
            for key, each in value.items():
                yield from self.walk(each, f"{path}[{_key(key)}]")
        elif isinstance(value, (set, frozenset)):
            # The order of a set depends on hashes, which differ between processes.
            for number, text in enumerate(sorted(map(self._flat, value))):
                yield Part(f"{path}[{number}]", None, text)
        else:
            for number, each in enumerate(value):
                yield from self.walk(each, f"{path}[{number}]")

    def _flat(self, value: Any) -> str:
        return "; ".join(f"{part.path} {part.text}" for part in self.walk(value, ""))

    def _object(self, value: Any, path: str) -> Iterator[Part]:
        kind = type(value)
        yield Part(path, value, qualname(kind))
        if self._own(kind.__module__):
            yield from self._code_of(kind, path)
        if isinstance(value, compose.Pipeline):
            held: Any = value.steps
        elif isinstance(value, compose.TransformerUnion):
            held = value.transformers
        else:
            for name, each in self._parameters(value):
                yield from self.walk(each, f"{path}.{name}")
            return
        for name, step in held.items():
            yield from self.walk(step, f"{path}[{name}]")

    def _parameters(self, value: Any) -> Iterator[tuple[str, Any]]:
        """Yield the constructor arguments of an object, or otherwise its attributes."""
        if _is_random(value):
            return  # its state is not a parameter; its seed is a parameter of the object that has it
        if isinstance(value, _NO_PARAMETERS):
            return
        if _is_opaque(type(value), self._own):
            yield "state", _state(value)
            return
        if dataclasses.is_dataclass(value):
            yield from ((each.name, getattr(value, each.name, None)) for each in dataclasses.fields(value))
            return
        named = _init_parameters(value)
        if named is not None:
            yield from named.items()
            if isinstance(value, UserList) and "models" not in named and "model" not in named:
                yield "models", list(value.data)
            return
        held = getattr(value, "__dict__", None)
        if held:
            yield from sorted(held.items())
            return
        yield "state", _state(value)

    def _class(self, kind: type, path: str) -> Iterator[Part]:
        yield Part(path, kind, f"class {qualname(kind)}")
        if self._own(kind.__module__):
            yield from self._code_of(kind, path)

    def _code_of(self, kind: type, path: str) -> Iterator[Part]:
        """Yield the parts that methods of a user's class and its bases refer to; `source_slice` covers their source."""
        for each in kind.__mro__:
            if not self._own(each.__module__) or id(each) in self._described:
                continue
            self._described[id(each)] = each
            for name, member in sorted(vars(each).items()):
                function = getattr(member, "__func__", None) or getattr(member, "fget", None) or member
                if isinstance(function, types.FunctionType):
                    yield from self._globals(function, f"{path}.{name}")

    def _callable(self, value: Any, path: str) -> Iterator[Part]:
        if isinstance(value, functools.partial):
            yield Part(path, value, "functools.partial")
            for name, each in (("func", value.func), ("args", value.args), ("keywords", value.keywords)):
                yield from self.walk(each, f"{path}.{name}")
            return
        if isinstance(value, types.MethodType):
            yield Part(path, value, f"method {value.__func__.__qualname__}")
            yield from self.walk(value.__self__, f"{path}.__self__")
            return
        if not self._own(value.__module__ or ""):
            yield Part(path, value, f"function {qualname(value)}")
            return
        yield Part(path, value, f"function {qualname(value)}, code {_code(value)}")
        if id(value) in self._described:
            return
        self._described[id(value)] = value
        for number, cell in enumerate(value.__closure__ or ()):
            try:
                contents = cell.cell_contents
            except ValueError:  # not set yet
                continue
            yield from self.walk(contents, f"{path}.<{value.__code__.co_freevars[number]}>")
        for name, each in (("defaults", value.__defaults__), ("keyword defaults", value.__kwdefaults__)):
            if each:
                yield from self.walk(each, f"{path}.<{name}>")
        yield from self._globals(value, path)

    def _globals(self, function: types.FunctionType, path: str) -> Iterator[Part]:
        """Yield the parts that a user's function uses from its module: a changed constant changes the model too."""
        for name in sorted(_names(function.__code__)):
            if name.startswith("__") or name not in function.__globals__ or hasattr(builtins, name):
                continue
            value = function.__globals__[name]
            inner = f"{path}.<{name}>"
            if isinstance(value, types.ModuleType):
                if not self._own(value.__name__):
                    continue
                yield Part(inner, value, f"module {own_name(value.__name__)}")
            elif isinstance(value, (type, types.FunctionType)):
                if self._own(value.__module__ or ""):
                    yield from self.walk(value, inner)
            elif not isinstance(value, types.BuiltinFunctionType):
                yield from self._held(value, inner)

    def _held(self, value: Any, path: str) -> Iterator[Part]:
        """Yield a module's value; for a library's object its whole state, which may have been fitted or loaded."""
        kind = type(value)
        known = isinstance(value, (*_PLAIN, *_CONTAINERS, *_CALLABLES, *_NO_PARAMETERS, enum.Enum))
        if isinstance(value, (str, bytes)):
            # It may be a secret from the environment, and many people can read a definition.
            yield Part(path, None, f"{kind.__name__}, {_state(value)}")
        elif known or self._own(kind.__module__) or _is_wrapper(value) or _is_random(value):
            yield from self.walk(value, path)
        else:
            yield Part(path, value, f"{qualname(kind)}, {_state(value)}")


def _init_parameters(value: Any) -> dict[str, Any] | None:
    """Return the constructor's parameters by River's convention that each is an attribute of the same name."""
    try:
        parameters = inspect.signature(type(value).__init__).parameters
    except (TypeError, ValueError):
        return None
    found: dict[str, Any] = {}
    for name, parameter in list(parameters.items())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            found.update(getattr(value, name, {}) or {})
        elif hasattr(value, name):
            found[name] = getattr(value, name)
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            # The object does not keep the convention. Values that a River object computes itself are not parameters.
            return None if not isinstance(value, base.Base) or not _is_river(value) else found
    return found


def _is_opaque(kind: type, own: Callable[[str], bool]) -> bool:
    """Return whether an object does not show its arguments in Python: a compiled pattern, an array, a decimal."""
    if own(kind.__module__) or kind.__module__.partition(".")[0] in ("river", "builtins"):
        return False
    return not isinstance(inspect.getattr_static(kind, "__init__", None), types.FunctionType)


def _is_random(value: Any) -> bool:
    return isinstance(value, random.Random) or type(value).__module__.startswith("numpy.random")


def _is_river(value: Any) -> bool:
    return type(value).__module__.startswith("river.")


def _state(value: Any) -> Any:
    """Return a short, stable hash of an opaque object's contents."""
    data = io.BytesIO()
    try:
        _StatePickler(data, protocol=5).dump(value)
    except Exception:  # noqa: BLE001 - `check` names what cannot be pickled
        return "(cannot be pickled)"
    return f"sha256 {hashlib.sha256(data.getvalue()).hexdigest()[:16]}"


class _StatePickler(pickle.Pickler):
    """Pickles an object's contents without random generators and paths; classes and functions only by name."""

    def persistent_id(self, value: Any) -> Any:
        if _is_random(value) or isinstance(value, os.PathLike):
            return type(value).__qualname__
        if isinstance(value, (type, types.FunctionType)):
            return qualname(value)
        return None


def _is_wrapper(value: Any) -> bool:
    """Return whether an object wraps a function, without running any of the user's code."""
    wrapped = inspect.getattr_static(value, "__wrapped__", None)
    return callable(wrapped) and not isinstance(value, types.FunctionType)


def _shown(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return f"int of {value.bit_length()} bits, {_state(value)}"  # Python limits the length of a number as text
    text = repr(value)
    if len(text) <= _LONG:
        return text
    return f"{type(value).__qualname__} of {len(value)}, sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _key(key: Any) -> str:
    if isinstance(key, _PLAIN):
        return str(key) if isinstance(key, str) else repr(key)
    if isinstance(key, tuple):
        return f"({', '.join(map(_key, key))})"
    return qualname(key if isinstance(key, type) else type(key))


def _code(function: types.FunctionType) -> str:
    return hashlib.sha256(_code_text(function.__code__, function.__doc__).encode()).hexdigest()[:16]


def _code_text(code: types.CodeType, docstring: str | None = None) -> str:
    constants = list(code.co_consts)
    if docstring is not None and constants and constants[0] == docstring:
        constants[0] = None
    parts = [code.co_code.hex(), repr(code.co_names), repr(code.co_varnames), repr(code.co_freevars)]
    return "\n".join([*parts, *map(_constant_text, constants)])


def _constant_text(constant: Any) -> str:
    if isinstance(constant, types.CodeType):
        return _code_text(constant)
    if isinstance(constant, frozenset):
        return f"frozenset({sorted(map(_constant_text, constant))})"
    if isinstance(constant, tuple):
        return f"({', '.join(map(_constant_text, constant))})"
    return repr(constant)


def _names(code: types.CodeType) -> set[str]:
    """Return the names that code and its nested code may look up in its module."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found
