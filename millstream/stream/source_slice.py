"""Slice of a user's source that a model depends on, as lines that can be compared.

The slice begins with the classes and functions of the model. It adds the top-level statements that bind or change a
name they use, and repeats this until nothing is added. If a statement in the slice imports a module, the whole module
counts, with its imports. The statement that makes the `Stream` does not count, because its other arguments do not
belong to the model.

A comparison of values alone would miss their use: a class attribute computed from a constant, a default argument, a
decorator, an entry in a registry.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from millstream.stream.parameter_groups import GROUPS

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS: Final = (*_FUNCTIONS, ast.ClassDef)
_BLOCKS: Final = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.Match)
# Groups only change the spelling of a `Stream`'s arguments: its definition must not depend on their use.
_GROUPS: Final = frozenset(f"millstream.{each.__name__}" for each in GROUPS.values())


class Name(NamedTuple):
    """A top-level name of one of the user's modules."""

    module: str
    name: str


def lines(files: Mapping[str, str], main: str, roots: Iterable[Name]) -> Iterator[str]:
    """Yield a line for each statement and module that `roots` depend on: ``<source of NAMES in MODULE> = hash``.

    Parameters
    ----------
    files
        Path to source text, as a version carries them.
    main
        Path of the stream file, which may also change what other modules define.
    """
    found = _Slices(files)
    by_path: dict[str, set[str]] = {}
    for root in roots:
        path = found.path(root.module)
        if path is not None:
            by_path.setdefault(path, set()).add(root.name)
    if by_path:
        by_path.setdefault(main, set()).update(*by_path.values())
    for path in sorted(by_path):
        yield from found.slice(path, by_path[path])
    yield from found.whole()


class _Slices:
    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files
        self._whole: set[str] = set()

    def path(self, module: str) -> str | None:
        """Return the file of a module, if it is one of the user's."""
        place = module.replace(".", "/")
        return next((each for each in (f"{place}.py", f"{place}/__init__.py") if each in self._files), None)

    def slice(self, path: str, names: set[str]) -> Iterator[str]:
        """Yield the lines for the statements that the names in a file depend on, in the file's order."""
        todo = _statements(ast.parse(self._files[path]))
        own = {name for each in todo for name in _bound(each)}
        kept: list[ast.stmt] = []
        need = set(names)
        while found := [each for each in todo if _counts(each, need, own)]:
            for each in found:
                todo.remove(each)
                need |= _used(each) | _bound(each)
            kept += found
        for each in kept:
            self._add_imported(each, path)
        for each in sorted(kept, key=lambda each: each.lineno):
            if isinstance(each, (ast.Import, ast.ImportFrom)):
                yield from self._aliases(each, path, need)
            else:
                named = ", ".join(sorted(_bound(each))) or "a statement"
                yield f"<source of {named} in {path}> = {_hash(each)}"

    def whole(self) -> Iterator[str]:
        """Yield the lines for the modules that count whole."""
        for path in sorted(self._whole):
            yield f"<source of module {path}> = {_hash(ast.parse(self._files[path]))}"

    def _aliases(self, node: ast.Import | ast.ImportFrom, path: str, need: set[str]) -> Iterator[str]:
        base = f"{'.' * node.level}{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
        for each in node.names:
            name = each.asname or each.name.partition(".")[0]
            if f"{base}{each.name}" in _GROUPS:
                continue
            if name in need or each.name == "*":
                yield f"<source of {name} in {path}> = import {base}{each.name}"

    def _add_imported(self, node: ast.AST, path: str) -> None:
        for module in _imported(node, path):
            parts = module.split(".")
            for length in range(1, len(parts) + 1):
                found = self.path(".".join(parts[:length]))
                if found is not None and found not in self._whole:
                    self._whole.add(found)
                    self._add_imported(ast.parse(self._files[found]), found)


def _statements(tree: ast.Module) -> list[ast.stmt]:
    """Return the top-level statements without docstrings, the stream's own statement, and script-only code."""
    streams = {"Stream"} | {
        alias.asname or alias.name
        for each in tree.body
        if isinstance(each, ast.ImportFrom) and each.module == "millstream"
        for alias in each.names
        if alias.name == "Stream"
    }
    return [each for each in tree.body if not (_is_text(each) or _is_script(each) or _makes_stream(each, streams))]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_script(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and any(isinstance(n, ast.Name) and n.id == "__name__" for n in ast.walk(node.test))


def _makes_stream(node: ast.stmt, names: set[str]) -> bool:
    value = getattr(node, "value", None)
    if not isinstance(value, ast.Call):
        return False
    made_by = value.func
    return (isinstance(made_by, ast.Name) and made_by.id in names) or (
        isinstance(made_by, ast.Attribute) and made_by.attr == "Stream"
    )


def _counts(node: ast.stmt, need: set[str], own: set[str]) -> bool:
    """Return whether a statement binds a needed name, or may change its value."""
    if _bound(node) & need:
        return True
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return any(each.name == "*" for each in node.names)
    if isinstance(node, _DEFINITIONS):
        return any(_used(each) & need & own for each in node.decorator_list)
    if isinstance(node, (*_BLOCKS, ast.Expr)):
        return bool(_used(node) & need & own)
    return any(_changed(target) & need for target in _targets(node))


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, (ast.Assign, ast.Delete)):
        return list(node.targets)
    return [node.target] if isinstance(node, (ast.AnnAssign, ast.AugAssign)) else []


def _changed(target: ast.expr) -> set[str]:
    """Return the names whose attribute or item the target sets."""
    if isinstance(target, (ast.Attribute, ast.Subscript)):
        return {each.id for each in ast.walk(target) if isinstance(each, ast.Name)}
    if isinstance(target, (ast.Tuple, ast.List)):
        return set().union(*map(_changed, target.elts))
    return set()


def _bound(node: ast.stmt) -> set[str]:
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {each.asname or each.name.partition(".")[0] for each in node.names}
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}
    if isinstance(node, _BLOCKS):
        inner = [each for each in ast.walk(node) if isinstance(each, (*_DEFINITIONS, ast.Import, ast.ImportFrom))]
        found |= set().union(*map(_bound, inner))
    return found


def _used(node: ast.AST) -> set[str]:
    """Return the names in a piece of source, and strings that could be names: ``globals()["RATE"]``."""
    found: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name):
            found.add(each.id)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value.isidentifier():
            found.add(each.value)
    return found


def _imported(node: ast.AST, path: str) -> Iterator[str]:
    """Yield the full names of modules that a piece of source may import."""
    package = path.split("/")[:-1]
    for each in ast.walk(node):
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom):
            base = package[: len(package) - each.level + 1] if each.level else []
            base = [*base, *(each.module.split(".") if each.module else [])]
            yield from (".".join([*base, alias.name]) for alias in each.names)
        elif isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value  # as in importlib.import_module("helper")


def _hash(node: ast.AST) -> str:
    return hashlib.sha256(ast.dump(_Normal().visit(node)).encode()).hexdigest()[:16]


class _Normal(ast.NodeTransformer):
    """Removes docstrings, and sorts the elements of sets."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(node, (*_DEFINITIONS, ast.Module)) and body and _is_text(body[0]) and len(body) > 1:
            del node.body[0]
        return node

    def visit_Set(self, node: ast.Set) -> ast.AST:
        self.generic_visit(node)
        node.elts.sort(key=ast.dump)
        return node
