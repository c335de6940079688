"""Detection of patches: changes of external modules and classes that importing a user's module makes.

A version's code has its own modules but shares all installed ones with the process, so a patch in an old version's code
changes the whole process.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from typing import NamedTuple


class Patch(NamedTuple):
    """The line of a change, from 1, and what it changes: ``preprocessing.StandardScaler.factor``."""

    line: int
    what: str


def patches(source: str, own: Container[str]) -> Iterator[Patch]:
    r"""Yield the attributes of imported modules and classes that importing this source sets or deletes.

    Parameters
    ----------
    own
        The top-level names of the user's own modules.

    >>> list(patches("from river import stats\nstats.Mean.get = None", own=()))
    [Patch(line=2, what='stats.Mean.get')]
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    nodes = list(_run_by_import(tree))
    foreign = {name for node in nodes for name in _imported(node, own)}
    for node in nodes:
        for target in _changed(node):
            if isinstance(target, ast.Attribute) and _root(target) in foreign:
                yield Patch(target.lineno, ast.unparse(target))


def _run_by_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a module, in order, without those in functions."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from _run_by_import(node)


def _imported(node: ast.AST, own: Container[str]) -> Iterator[str]:
    """Yield the names that a statement imports from external modules."""
    if isinstance(node, ast.Import):
        for each in node.names:
            top = each.name.partition(".")[0]
            if top not in own:
                yield each.asname or top
    elif isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").partition(".")[0] not in own:
        yield from (each.asname or each.name for each in node.names)


def _changed(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the targets that a statement sets or deletes; ``setattr(it, "name", …)`` sets ``it.name``."""
    if isinstance(node, (ast.Assign, ast.Delete)):
        for target in node.targets:
            yield from target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        yield node.target
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and len(node.args) > 1:
        holder, name = node.args[:2]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield ast.copy_location(ast.Attribute(holder, name.value), node)


def _root(target: ast.expr) -> str:
    while isinstance(target, ast.Attribute):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""
