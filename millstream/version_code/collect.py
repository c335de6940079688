"""The source files that a stream file is made of: itself, and every module beside it that it imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from importlib.util import decode_source
from pathlib import Path
from typing import Final

from millstream.load_error import LoadError
from millstream.stream_file import READY_MADE, StreamFile, is_own_module
from millstream.version_code.code_object import MOST_BYTES

_INIT: Final = "__init__.py"


def sources(file: StreamFile, imported: Iterable[str] = ()) -> dict[str, str]:
    """Return the text of the stream file and of all modules beside it that it imports, by path.

    Imports are read from the source, in functions as well; `imported` adds modules that only running it showed, such
    as those that ``importlib.import_module`` loaded.

    Raises
    ------
    LoadError
        Where a file cannot be read, or all of them are larger than a version's code may be.
    """
    if file.is_ready_made:
        return {f"{READY_MADE}/{file.path.name}": _text(file.path)}
    return _Sources(file.path).collect(imported)


class _Sources:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.parent
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
        name = path.relative_to(self._folder).as_posix()
        if name in self._found:
            return
        self._found[name] = text = _text(path)
        for module in _imported(text, path.relative_to(self._folder)):
            for each in self._files(module):
                self._take(each)

    def _files(self, module: str) -> Iterator[Path]:
        """Yield the files beside the stream file that importing a module runs: its packages, and itself."""
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            place = self._folder.joinpath(*parts[:length])
            for candidate in (place / _INIT, place.with_suffix(".py")):
                if candidate.is_file():
                    yield candidate
                    break


def _imported(text: str, path: Path) -> Iterator[str]:
    """Yield the full names of modules that a source file imports, or may mean by ``from package import name``."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return  # importing it has said why
    package = path.parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            if base:
                yield ".".join(base)
            yield from (".".join([*base, each.name]) for each in node.names if each.name != "*")


def _text(path: Path) -> str:
    try:
        return decode_source(path.read_bytes())
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise LoadError(f"{path} cannot be read as Python source: {error}") from error
