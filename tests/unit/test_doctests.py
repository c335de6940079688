"""Examples in docstrings are correct: each module's doctests run."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams")
WITH_EXAMPLES: Final = tuple(
    sorted(
        path.relative_to(ROOT)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if ">>> " in path.read_text(encoding="utf-8")
    )
)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=Path.as_posix)
def test_the_examples_of_a_module_give_what_they_say(path: Path) -> None:
    module = importlib.import_module(".".join(path.with_suffix("").parts))
    results = doctest.testmod(module)
    assert results.attempted > 0, "every module with a prompt has an example that runs"
    assert results.failed == 0
