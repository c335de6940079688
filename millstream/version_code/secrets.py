"""Strings in source code that look like a secret: what travels with every version should hold none."""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

_NAMES: Final = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|pwd|secret|token|api_?key|access_?key|private_?key|credentials?)(?:$|_)",
    re.IGNORECASE,
)
# Forms that providers give their keys, so that they can be recognised wherever they turn up.
_FORMS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # Amazon Web Services
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}"  # GitHub
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"  # Stripe
    r"|\bAIza[0-9A-Za-z_-]{35}"  # Google
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."  # a JSON web token
    r"|://[^/\s:@]+:[^/\s:@{}]+@"  # an address with a password in it
)
_RANDOM: Final = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_RANDOM_BITS: Final = 4.2  # of entropy a letter: words have fewer, and so have hexadecimal digits
_SHORTEST: Final = 6


class Suspect(NamedTuple):
    """A string that looks like a secret: its line, from 1, and why; never the string itself."""

    line: int
    why: str


def suspects(source: str) -> Iterator[Suspect]:
    """Yield what looks like a secret in Python source, in the order of its lines.

    >>> list(suspects('PASSWORD = "hunter22"'))
    [Suspect(line=1, why="the value of 'PASSWORD'")]
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    found: dict[int, str] = {}
    for node in ast.walk(tree):
        for name, value in _named(node):
            if _NAMES.search(name) and _is_text(value, _SHORTEST):
                found.setdefault(value.lineno, f"the value of {name!r}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (why := _form(node.value)):
            found.setdefault(node.lineno, why)
    yield from (Suspect(line, found[line]) for line in sorted(found))


def _named(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield names and what is given to them, by assignment, as an argument or in a dictionary."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield _name(target), node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield _name(node.target), node.value
    elif isinstance(node, ast.keyword) and node.arg:
        yield node.arg, node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, value


def _name(target: ast.expr) -> str:
    return target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""


def _is_text(value: ast.expr, shortest: int) -> bool:
    if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
        return False
    return len(value.value) >= shortest and " " not in value.value


def _form(text: str) -> str:
    if _FORMS.search(text):
        return "the form of a key or a password in an address"
    if _RANDOM.fullmatch(text) and _bits(text) >= _RANDOM_BITS:
        return f"{len(text)} letters without a pattern"
    return ""


def _bits(text: str) -> float:
    """Return the entropy of a letter, in bits."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
