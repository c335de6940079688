"""The layout: a folder stays small enough to be read as a list."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("folder", "most"), [("millstream", 25), ("consumers", 16), ("schemas", 30)])
def test_a_folder_has_few_entries(folder: str, most: int) -> None:
    entries = [each.name for each in (ROOT / folder).iterdir() if each.name != "__pycache__"]
    assert 5 < len(entries) <= most, sorted(entries)


def test_no_two_test_files_have_one_name() -> None:
    """Pytest imports them by their names alone, so the second would not be collected."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 300


def test_no_product_file_is_long() -> None:
    packages = ("runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams")
    lengths = {path: len(path.read_text().splitlines()) for each in packages for path in (ROOT / each).rglob("*.py")}
    assert len(lengths) > 250
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > 400} == {}


def test_no_product_function_is_long() -> None:
    packages = ("runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams")
    lengths = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for each in packages
        for path in (ROOT / each).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None
    }
    assert len(lengths) > 2000
    assert {name: length for name, length in lengths.items() if length > 60} == {}
