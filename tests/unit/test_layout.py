"""The layout: a folder stays small enough to be read as a list."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("folder", "most"), [("millstream", 20), ("consumers", 12), ("schemas", 25)])
def test_a_folder_has_few_entries(folder: str, most: int) -> None:
    entries = [each.name for each in (ROOT / folder).iterdir() if each.name != "__pycache__"]
    assert 5 < len(entries) <= most, sorted(entries)


def test_no_product_file_is_long() -> None:
    packages = ("runtime", "schemas", "model_store", "producers", "consumers", "millstream", "streams")
    lengths = {path: len(path.read_text().splitlines()) for each in packages for path in (ROOT / each).rglob("*.py")}
    assert len(lengths) > 250
    assert {str(path.relative_to(ROOT)): length for path, length in lengths.items() if length > 400} == {}
