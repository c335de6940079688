"""Module docstrings begin with their subject, so that a reader finds a module by its first line."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams")
MODULES: Final = tuple(sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py")))
LONGEST: Final = 100
HIDDEN: Final = re.compile(r"(?:what|which|how|whether|where|when|who|why|that|a thing)\b", re.IGNORECASE)
"""Words that put off the subject: "What a join keeps" instead of "State of a join"."""


def flaw(docstring: str | None) -> str | None:
    """Return what is wrong with the first line of a module's docstring, `None` if it is fine."""
    if not docstring:
        return "has no docstring"
    first = docstring.splitlines()[0]
    if HIDDEN.match(first):
        return f"begins with {first.split()[0]!r} and not with its subject"
    return f"has a first line of {len(first)} characters" if len(first) > LONGEST else None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.relative_to(ROOT).as_posix())
def test_a_module_says_in_its_first_line_what_it_holds(module: Path) -> None:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert flaw(docstring) is None


@pytest.mark.parametrize(
    ("docstring", "said"),
    [
        (None, "no docstring"),
        ("What a join keeps.", "begins with 'What'"),
        ("That one topic is a copy of another.", "begins with 'That'"),
        ("A thing of the loop.", "begins with 'A'"),
        ("State of a join, " + "and more " * 20, "197 characters"),
    ],
)
def test_a_first_line_that_hides_its_subject_is_found(docstring: str | None, said: str) -> None:
    assert said in (flaw(docstring) or "")
