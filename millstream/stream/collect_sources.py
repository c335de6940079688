"""Collection of a stream's source files: the stream file and every module beside it that it imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from importlib.util import decode_source
from pathlib import Path
from typing import Final

from millstream.stream.code_object import MOST_BYTES
from millstream.stream.errors import LoadError
from millstream.stream.stream_file import READY_MADE, StreamFile, hidden_by, is_own_module

_INIT: Final = "__init__.py"


def sources(file: StreamFile, imported: Iterable[str] = ()) -> dict[str, str]:
    """Return the text of the stream file and of all modules beside it that it imports, by path.

    Imports are found in the source, including those in functions, ``import_module("name")`` and ``__import__("name")``.
    `imported` adds modules that were found by running the file, such as those with computed names. A module that is
    hidden by one of Python's own or an installed one is left out, because the import gets the other one.

    Raises
    ------
    LoadError
        If a file cannot be read, or all together exceed the size limit of a version's code.
    """
    if file.is_ready_made:
        return {f"{READY_MADE}/{file.path.name}": _text(file.path)}
    return _Sources(file).collect(imported)


class _Sources:
    def __init__(self, file: StreamFile) -> None:
        self._path = file.path
        self._main = f"{file.module}.py"  # its own name, where the file is named like another module
        self._folder = file.path.parent
        self._found: dict[str, str] = {}

    def collect(self, imported: Iterable[str]) -> dict[str, str]:
        self._take(self._path)
        for name in imported:
            module = sys.modules.get(name)
            origin = getattr(module, "__file__", None)
            if origin is not None and origin.endswith(".py") and is_own_module(name, self._path):
                self._take(Path(origin).resolve())
        size = sum(len(text) for text in self._found.values())
        if size > MOST_BYTES:
            raise LoadError(
                f"{self._path}: it and the modules beside it have {size} characters; the code of a version may have "
                f"{MOST_BYTES}. Move data out of the source"
            )
        return dict(sorted(self._found.items()))

    def _take(self, path: Path) -> None:
        name = self._main if path == self._path else path.relative_to(self._folder).as_posix()
        if name in self._found:
            return
        self._found[name] = text = _text(path)
        for module in _imported(text, path.relative_to(self._folder)):
            for each in self._files(module):
                self._take(each)

    def _files(self, module: str) -> Iterator[Path]:
        """Yield the files beside the stream file that run when a module is imported: its packages and itself."""
        parts = module.split(".")
        if self._is_hidden(parts[0]):
            return
        for length in range(1, len(parts) + 1):
            place = self._folder.joinpath(*parts[:length])
            for candidate in (place / _INIT, place.with_suffix(".py")):
                if candidate.is_file():
                    yield candidate
                    break

    def _is_hidden(self, top: str) -> bool:
        """Return whether an import of this name gets another module than the one beside the stream file."""
        folder, file = self._folder / top, self._folder / f"{top}.py"
        return (folder.is_dir() or file.is_file()) and hidden_by(top, file) is not None


def _imported(text: str, path: Path) -> Iterator[str]:
    """Yield the full names of modules that a source file imports, including ``from package import name``."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return  # the import of this file has reported why
    package = path.parts[:-1]
    importers = {"import_module", "__import__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "importlib":
            importers |= {each.asname for each in node.names if each.name == "import_module" and each.asname}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            if base:
                yield ".".join(base)
            yield from (".".join([*base, each.name]) for each in node.names if each.name != "*")
        elif isinstance(node, ast.Call) and _called(node.func) in importers:
            yield from _given(node, package)


def _called(function: ast.expr) -> str:
    """Return the last name of a called function: ``import_module`` for ``importlib.import_module``."""
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _given(call: ast.Call, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the module in ``import_module("name")``; a relative name refers to the calling package."""
    given = call.args[0] if call.args else next((each.value for each in call.keywords if each.arg == "name"), None)
    if not isinstance(given, ast.Constant) or not isinstance(given.value, str):
        return
    name = given.value.lstrip(".")
    level = len(given.value) - len(name)
    base = package[: len(package) - level + 1] if level else ()
    if name:
        yield ".".join([*base, name])


def _text(path: Path) -> str:
    try:
        return decode_source(path.read_bytes())
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise LoadError(f"{path} cannot be read as Python source: {error}") from error
