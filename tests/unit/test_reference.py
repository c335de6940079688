"""docs/reference/ says what the code says, and names every variable of the environment that the code reads."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
GENERATE: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "generate.py"))
PAGES: dict[str, Callable[[], str]] = dict(GENERATE["PAGES"])
PACKAGES = ("runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
    assert PAGES[name]() == written, "run `make docs` and commit what it writes"


def test_commands_are_the_same_however_python_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SimpleNamespace(name="pytest.__main__", origin=sys.argv[0])  # as with `python -m pytest`
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    page = PAGES["commands.md"]()
    assert page == (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")


def test_every_variable_that_the_code_names_is_on_the_page() -> None:
    named: set[str] = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            named.update(re.findall(r"MILLSTREAM_[A-Z]+(?:_[A-Z]+)*", path.read_text(encoding="utf-8")))
    page = PAGES["environment.md"]()
    families = ("MILLSTREAM_KAFKA", "MILLSTREAM_REGISTRY")
    assert named
    assert [each for each in sorted(named) if f"`{each}`" not in page and not each.startswith(families)] == []


def test_every_key_of_a_stream_file_is_explained() -> None:
    rows = [line for line in PAGES["stream-file.md"]().splitlines() if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.rstrip(" |").count("|") < 3] == [], "a docstring says nothing of it"
