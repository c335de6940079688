"""A version from before `Stream` had groups: what it is run with, and that a learner goes on from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from store_parts import draft
from user_files import forgetful, write

from consumers.model.version_files import CODE_FILE
from millstream.config.settings import Settings
from millstream.processes.model_process_main import starter
from millstream.stream.code_object import Code, decode, encode
from millstream.stream.load import LoadedStream, load_stream
from millstream.version_code.choice import OtherCode, VersionCode, definition_of, run_code
from model_store import Manifest, ModelStore, VersionId, VersionRefused, dumps, open_store
from schemas.contract import Contract
from schemas.target import Target

__all__ = ["forgetful"]

FILE = """
from river import base, linear_model
from millstream import Labels, Stream, Validation
class Unit(base.Transformer):
    def transform_one(self, x):
        return {{"u": x["a"] * {scale}}}
stream = Stream(name="coded", task="binary", model=lambda: Unit() | linear_model.LogisticRegression(), {more})
"""
OLD = 'label_wait="7d", on_timeout=False, unknown="keep"'
NEW = 'labels=Labels(wait="7d", on_timeout=False), validation=Validation(unknown="keep")'


def version_with_old_names(settings: Settings) -> tuple[ModelStore, Manifest, Any]:
    """Publish a version as it was made by a stream file with old names; return its model, too."""
    text = FILE.replace("Labels, Stream, Validation", "Stream").format(scale=2.0, more=OLD)
    code = Code(
        module="coded", files={"coded.py": text}, definition="", contract=Contract(), target=Target(task="binary")
    )
    then = run_code(code)
    whole = replace(code, definition=then.definition_text, contract=then.stream.contract, target=then.stream.target)
    model = then.fresh_model()
    for number in range(20):
        model.learn_one({"a": float(number % 5) - 2.0}, number % 5 > 2)
    definition = definition_of(then)
    said = draft(VersionId("coded", 1, 20), definition=definition.hash, contract=definition.contract)
    store = open_store(settings.models, settings.keys, sign=True)
    return store, store.publish(said, {"model": dumps(model), CODE_FILE: encode(whole)}), model


def now(folder: Path, scale: float) -> LoadedStream:
    return load_stream(write(folder, FILE.format(scale=scale, more=NEW), "coded.py"))


def test_it_is_the_same_stream_to_a_file_that_only_spells_it_otherwise(tmp_path: Path) -> None:
    store, manifest, _ = version_with_old_names(Settings(tmp_path / "home", "nowhere:1"))
    code = VersionCode(now(tmp_path, 2.0), store, "own")
    assert not code.to_answer(manifest).carried
    assert code.as_then(manifest) is code.loaded
    assert code.changes(manifest) == []


def test_to_a_file_with_another_model_it_answers_with_the_code_that_it_carries(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home", "nowhere:1")
    store, manifest, model = version_with_old_names(settings)
    loaded, event = now(tmp_path, -3.0), {"a": 1.5}
    with pytest.raises(OtherCode, match="start this with --code version"):
        VersionCode(loaded, store, "own").to_answer(manifest)
    choose = VersionCode(loaded, store, "version")
    then = choose.as_then(manifest)
    assert then.stream.labels == loaded.stream.labels
    assert then.stream.validation.unknown == "keep"
    run_with = choose.to_answer(manifest)
    assert run_with.carried
    read = store.load(manifest, "model", extra_allowed=run_with.allowed, find=run_with.find)
    assert run_with.face(read, "binary").predict(event).probabilities == model.predict_proba_one(event)
    large = starter(loaded, settings, choose.to_answer)(manifest, None)
    try:
        assert large.predict(event).probabilities == model.predict_proba_one(event)
    finally:
        large.close()  # type: ignore[attr-defined]


def test_what_an_old_name_cannot_be_refuses_the_version(tmp_path: Path) -> None:
    store, manifest, _ = version_with_old_names(Settings(tmp_path / "home", "nowhere:1"))
    code = decode(store.read(manifest, CODE_FILE))
    wrong = {"coded.py": code.files["coded.py"].replace('label_wait="7d"', 'label_wait="soon"')}
    with pytest.raises(VersionRefused, match=r"does not run: .*coded\.py:7: InvalidStream: Labels: wait='soon' is no"):
        run_code(replace(code, files=wrong))
