"""Detection of strings that look like secrets in source code, which travels with every version.

A string is suspicious by the name it is assigned to, or by its own form. Stream files hold many harmless look-alikes
(tokens of texts, contracts, names of columns, topics and files). They are left out, because users ignore warnings that
are mostly wrong.
"""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

# `token` alone is a usual word in text models.
_NAMES: Final = re.compile(
    r"(?:^|[._-])(?:password|passwd|passphrase|pwd|secret|credential"
    r"|(?:access|auth|api|bearer)[_-]?token|(?:api|access|private)[_-]?key)s?\d*(?:$|[._-])",
    re.IGNORECASE,
)
_PASSPHRASES: Final = re.compile(r"(?:password|passphrase)s?$", re.IGNORECASE)  # may have blanks
_ABOUT_SECRETS: Final = re.compile(r"_(?:pattern|name|header|path|file|env|topic)s?$", re.IGNORECASE)
_KINDS: Final = frozenset({"number", "integer", "boolean", "string", "bytes", "vector", "category"})
_FILE: Final = re.compile(r"\S+\.(?:json|ya?ml|toml|ini|cfg|conf|txt|csv|parquet|env|pem|key|crt|jks|p12|pkl|py)")
_PAIR: Final = re.compile(
    r"(?i:password|passwd|passphrase|pwd|secret|(?:access|auth|api|bearer)_?token|(?:api|access|private)_?key)"
    r"""=["']?([^\s;&,"'()\[\]{}%$:?]+)(?=[\s;&,"']|$)"""
)
# Providers give their keys these forms, so that they can be recognised anywhere.
_FORMS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # Amazon Web Services
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}"  # GitHub
    r"|\bhf_[A-Za-z0-9]{30,}"  # Hugging Face
    r"|\bsk-(?:proj|ant)-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"  # Stripe
    r"|\bAIza[0-9A-Za-z_-]{35}"  # Google
    r"|\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."  # a JSON web token
    r"|://[^/\s:@]+:[^/\s:@{}]+@"  # an address with a password in it
)
_RANDOM: Final = re.compile(r"[A-Za-z0-9+/=_-]{32,}")
_RANDOM_BITS: Final = 4.2  # of entropy for each character: words and hexadecimal digits have fewer
_UNBROKEN: Final = 16  # letters without a hyphen or slash; names of topics and files are made of shorter words
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_SHORTEST_WORDS: Final = 4  # letters, on average; random text changes its kind of letter after about two
_SHORTEST: Final = 6


class Suspect(NamedTuple):
    """A string that looks like a secret: its line, from 1, and why; never the string itself."""

    line: int
    why: str


def suspects(source: str) -> Iterator[Suspect]:
    """Yield strings that look like a secret in Python source, in the order of lines.

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
            if _NAMES.search(name) and not _ABOUT_SECRETS.search(name):
                for line, text in _texts(value):
                    if _is_secret(text, blanks=bool(_PASSPHRASES.search(name))):
                        found.setdefault(line, f"the value of {name!r}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and (why := _form(_text(node) or "")):
            found.setdefault(node.lineno, why)
    yield from (Suspect(line, found[line]) for line in sorted(found))


def _named(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield names with their values: assigned, passed as an argument, a default, or an entry of a dictionary."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield _name(target), node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield _name(node.target), node.value
    elif isinstance(node, ast.keyword) and node.arg:
        yield node.arg, node.value
    elif isinstance(node, ast.arguments):
        positional = [*node.posonlyargs, *node.args]
        last = positional[len(positional) - len(node.defaults) :]
        defaults = [*node.defaults, *node.kw_defaults]
        for argument, default in zip([*last, *node.kwonlyargs], defaults, strict=True):
            if default is not None:
                yield argument.arg, default
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            yield _name(key), value


def _name(target: ast.expr | None) -> str:
    """Return the name in ``name = …``, ``it.name = …``, ``it["name"] = …`` and ``{"name": …}``, else nothing."""
    if isinstance(target, ast.Subscript):
        target = target.slice
    if isinstance(target, ast.Constant):
        return target.value if isinstance(target.value, str) else ""
    return target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""


def _texts(value: ast.expr) -> Iterator[tuple[int, str]]:
    """Yield the line and text of a string, or of each in a list."""
    for each in value.elts if isinstance(value, (ast.List, ast.Tuple, ast.Set)) else [value]:
        text = _text(each)
        if text is not None:
            yield each.lineno, text


def _text(value: ast.expr) -> str | None:
    """Return the text of a string, of bytes, or of several that are added."""
    if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
        left, right = _text(value.left), _text(value.right)
        return None if left is None or right is None else left + right
    if not isinstance(value, ast.Constant) or not isinstance(value.value, (str, bytes)):
        return None
    return value.value if isinstance(value.value, str) else value.value.decode("latin-1")


def _is_secret(text: str, *, blanks: bool) -> bool:
    """Return whether the value of a secret's name is a secret, and not a placeholder, kind, file or name of one."""
    if len(text) < _SHORTEST or "<" in text or (not blanks and " " in text):
        return False
    is_name = text.isidentifier() and _NAMES.search(text)
    return not (is_name or text in _KINDS or _FILE.fullmatch(text))


def _form(text: str) -> str:
    if _FORMS.search(text):
        return "the form of a key or a password in an address"
    if any(_is_secret(each, blanks=False) for each in _PAIR.findall(text)):
        return "a password or key in a text"
    return f"{len(text)} letters without a pattern" if _RANDOM.fullmatch(text) and _is_random(text) else ""


def _is_random(text: str) -> bool:
    stretch = max(re.split(r"[/_-]", text), key=len)
    is_alphabet = len(set(text)) == len(text)
    in_words = len(stretch) >= _SHORTEST_WORDS * len(_WORDS.findall(stretch))
    return len(stretch) >= _UNBROKEN and not is_alphabet and not in_words and _bits(text) >= _RANDOM_BITS


def _bits(text: str) -> float:
    """Return the entropy of each character, in bits."""
    counts: Iterable[int] = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
