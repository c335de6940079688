"""Exit codes have names: a number in the code would be one that nobody finds."""

from __future__ import annotations

import ast
from pathlib import Path

from runtime import exits

ROOT = Path(__file__).parents[2]
PRODUCT = ("runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams")
UNMISTAKABLE = {exits.TRY_AGAIN, exits.INTERRUPTED}


def test_codes_are_what_shells_and_supervisors_know() -> None:
    assert (exits.OK, exits.FAILED, exits.USAGE, exits.TRY_AGAIN, exits.INTERRUPTED) == (0, 1, 2, 75, 130)


def test_only_one_file_has_the_numbers() -> None:
    found = {
        str(path.relative_to(ROOT))
        for package in PRODUCT
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in UNMISTAKABLE
    }
    assert found == {"runtime/exits.py"}


def test_commands_end_with_names() -> None:
    files = [*(ROOT / "millstream" / "cli").glob("*.py"), ROOT / "millstream" / "processes" / "roles.py"]
    found = [
        f"{path.name}:{each.lineno}"
        for path in files
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef) and ast.unparse(function.returns or ast.Constant(None)) == "int"
        for each in ast.walk(function)
        if isinstance(each, ast.Return) and isinstance(each.value, ast.Constant)
    ]
    assert found == []
