"""A small stream file, versions that carry its code, and their answers."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from store_parts import draft

from consumers.model.version_files import CODE_FILE
from consumers.model.version_runtime import RunWith
from millstream.stream.load import LoadedStream, load_stream
from millstream.version_code.choice import definition_of
from model_store import (
    Manifest,
    ModelStore,
    VersionId,
    dumps,
)

HEAD = """
from river import base, compose, linear_model
from millstream import Evaluation, Labels, Stream, Validation
"""
UNIT = """
class Unit(base.Transformer):
    def __init__(self):
        self.seen = 0
    def transform_one(self, x):
        return {{"u": x["a"] * {scale}, **{{name: x[name] for name in x if name not in ("a", "t")}}}}
"""
STREAM = """
stream = Stream(name="coded", task="binary", label="y", model=lambda: Unit() | linear_model.LogisticRegression(){more})
"""


@contextlib.contextmanager
def forgetting_imports() -> Iterator[None]:
    """Forget at the end what the files of a test imported, so that the next one may use the same names."""
    modules, path = set(sys.modules), list(sys.path)
    try:
        yield
    finally:
        for name in set(sys.modules) - modules:
            if not name.startswith(("river", "sklearn", "numpy", "scipy", "pandas", "millstream.", "consumers.")):
                del sys.modules[name]
        sys.path[:] = path


def load(
    folder: Path, *, scale: float = 2.0, more: str = "", before: str = "", files: dict[str, str] | None = None
) -> LoadedStream:
    """Load ``coded.py`` from a folder as a process of its own would."""
    for name in [each for each in sys.modules if each.partition(".")[0] in ("coded", "scales", "shared")]:
        del sys.modules[name]
    folder.mkdir(exist_ok=True)
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "coded.py").write_text(HEAD + before + UNIT.format(scale=scale) + STREAM.format(more=more))
    sys.path[:] = [each for each in sys.path if Path(each).parent != folder.parent]
    importlib.invalidate_caches()
    return load_stream(str(folder / "coded.py"))


def learned(loaded: LoadedStream, events: int = 20) -> Any:
    model = loaded.fresh_model()
    for number in range(events):
        model.learn_one({"a": float(number % 5) - 2.0}, number % 5 > 2)
    return model


def published(
    store: ModelStore, loaded: LoadedStream, model: Any, examples: int = 20, *, code: bool = True
) -> Manifest:
    definition = definition_of(loaded)
    files = {"model": dumps(model), "state": dumps({"format": 0})} | ({CODE_FILE: definition.code} if code else {})
    said = draft(VersionId("coded", 1, examples), definition=definition.hash, contract=definition.contract)
    return store.publish(said, files)


def answer(store: ModelStore, manifest: Manifest, run_with: RunWith, features: dict[str, Any]) -> Any:
    model = store.load(manifest, "model", extra_allowed=run_with.allowed, find=run_with.find)
    return run_with.face(model, "binary").predict(features)
