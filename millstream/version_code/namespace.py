"""Namespace for the code of one version, so that two versions of a class can exist at once.

The modules of a version are named ``millstream_code_<hash>.<original name>``. Imports in the version's files, including
``importlib.import_module``, find the version's files first; all other imports are the process's own.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final

from millstream.stream.code_object import Code, encode
from millstream.stream.flat_names import flat_names_accepted
from millstream.stream.stream_file import CARRIED
from model_store.code_names import PREFIX

_BUILTIN_IMPORT: Final = builtins.__import__


class Namespace:
    """The modules of one version's code. Make one with `namespace_of`.

    No code runs before `main` is called.
    """

    def __init__(self, code: Code, digest: str) -> None:
        self.code = code
        self.package = PREFIX + digest
        self._tops = {path.partition("/")[0].removesuffix(".py") for path in code.files}
        self._importlib = _Importlib(self)

    def main(self) -> ModuleType:
        """Run the stream file once and return its module. Exceptions of the code pass through unchanged."""
        return importlib.import_module(f"{self.package}.{self.code.module}")

    def find(self, module: str, name: str) -> Any:
        """Return the object that a pickle names by a module's original name and a qualified name in it."""
        found: Any = importlib.import_module(self.full_name(module))
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def owns(self, module: str) -> bool:
        """Return whether a module belongs to this version."""
        return module.startswith(f"{self.package}.")

    def full_name(self, module: str) -> str:
        """Return this process's name of a module that the version's code names."""
        return f"{self.package}.{module}" if module.partition(".")[0] in self._tops else module

    def source(self, name: str) -> tuple[str, bool] | None:
        """Return the path of a module's source, empty for a folder without one, and whether it is a package."""
        place = name.replace(".", "/")
        if f"{place}.py" in self.code.files:
            return f"{place}.py", False
        if f"{place}/__init__.py" in self.code.files:
            return f"{place}/__init__.py", True
        return ("", True) if any(path.startswith(f"{place}/") for path in self.code.files) else None

    def import_(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the parameter names of `__import__`
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import like `__import__`, but take the version's own modules from the version."""
        full = self.full_name(name)
        if level or full == name:
            found = _BUILTIN_IMPORT(name, globals, locals, fromlist or (), level)
            return self._importlib if found is importlib else found
        if fromlist:
            return _BUILTIN_IMPORT(full, globals, locals, fromlist, 0)
        importlib.import_module(full)
        return sys.modules[f"{self.package}.{name.partition('.')[0]}"]


class _Importlib(ModuleType):
    """The `importlib` of a version's code: its `import_module` finds the version's modules first."""

    def __init__(self, space: Namespace) -> None:
        super().__init__(importlib.__name__)

        @functools.wraps(importlib.import_module)
        def import_module(name: str, package: str | None = None) -> ModuleType:
            if name.startswith(".") and package:
                name = importlib.util.resolve_name(name, package)
            return importlib.import_module(space.full_name(name), package)

        self.import_module = import_module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib, name)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of all namespaces of this process."""

    def __init__(self) -> None:
        self.spaces: dict[str, Namespace] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.partition(".")
        space = self.spaces.get(package)
        if space is None:
            return None
        source = ("", True) if not name else space.source(name)
        if source is None:
            return None
        loader = _Loader(space, source[0])
        spec = importlib.util.spec_from_loader(fullname, loader, is_package=source[1])
        if spec is not None and source[0]:
            spec.origin, spec.has_location = loader.get_filename(fullname), True
        return spec


class _Loader(importlib.abc.InspectLoader):
    def __init__(self, space: Namespace, path: str) -> None:
        self._space = space
        self._path = path

    def get_source(self, fullname: str) -> str:
        return self._space.code.files.get(self._path, "")

    def get_filename(self, fullname: str) -> str:
        """Return the file name for tracebacks; no such file exists."""
        return f"{CARRIED}{self._space.package.removeprefix(PREFIX)}>/{self._path}"

    def is_package(self, fullname: str) -> bool:
        return self._path in ("", "__init__.py") or self._path.endswith("/__init__.py")

    def exec_module(self, module: ModuleType) -> None:
        # Every function of the module uses this for its imports, whenever it runs.
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._space.import_}
        if self._path:
            source, name = self.get_source(module.__name__), self.get_filename(module.__name__)
            code = compile(source, name, "exec", dont_inherit=True)
            with flat_names_accepted():
                exec(code, module.__dict__)  # noqa: S102 - code of a signed version, by the operator's choice


_finder: Final = _Finder()
_lock: Final = threading.Lock()


def namespace_of(code: Code) -> Namespace:
    """Return the namespace of this code; a process has one for each code."""
    digest = hashlib.sha256(encode(code)).hexdigest()[:16]
    with _lock:
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)
        return _finder.spaces.setdefault(PREFIX + digest, Namespace(code, digest))
