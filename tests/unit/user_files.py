"""Stream files as users write them, and an interpreter that forgets them afterwards."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

HEAD = """
from river import (
    anomaly, compose, dummy, ensemble, facto, feature_extraction, forest, linear_model, metrics, multiclass,
    naive_bayes, neighbors, optim, preprocessing, stats, tree, utils,
)
from millstream import Evaluation, Feature, Labels, Source, Stream, Validation
"""


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path) -> Iterator[None]:
    """Undo what importing a user's file does to the interpreter."""
    before = list(sys.path)
    yield
    sys.path[:] = before
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def write(folder: Path, body: str, name: str = "userfile.py") -> str:
    """Write a file as it stands and return its path."""
    path = folder / name
    path.write_text(textwrap.dedent(body), encoding="utf-8")
    return str(path)


def write_stream(folder: Path, model: str, more: str = "", *, task: str = "binary", before: str = "") -> str:
    """Write a stream file around a model's expression and return its path."""
    stream = f'stream = Stream(name="mine", task="{task}", model=lambda: {model}, {more})'
    body = f"{HEAD}\n{textwrap.dedent(before)}\n{stream}\n"
    path = folder / "userfile.py"
    path.write_text(body, encoding="utf-8")
    return str(path)
