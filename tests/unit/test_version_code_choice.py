"""Which code runs a version: its own, that of the process, or none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from store_parts import SIGNER, store_on
from version_code_parts import answer, forgetting_imports, learned, load, published

from consumers.model.version_files import CODE_FILE
from millstream.config.settings import Settings
from millstream.processes.model_process_main import starter
from millstream.stream.code_object import decode
from millstream.stream.errors import LoadError
from millstream.stream.load import LoadedStream
from millstream.version_code.choice import OtherCode, VersionCode
from model_store import (
    Damaged,
    MemoryBackend,
    ModelStore,
    VersionRefused,
    open_store,
)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    with forgetting_imports():
        yield


def test_a_version_is_run_with_its_own_code_where_that_is_asked_for_and_refused_where_not(tmp_path: Path) -> None:
    store = store_on(MemoryBackend())
    then = load(tmp_path / "a", scale=2.0)
    model = learned(then)
    manifest = published(store, then, model)
    given = model.predict_proba_one({"a": 1.5})
    now = load(tmp_path / "b", scale=-3.0)
    assert now.fresh_model()["Unit"].transform_one({"a": 1.5}) == {"u": -4.5}
    said: list[str] = []
    run_with = VersionCode(now, store, "version", said.append).to_answer(manifest)
    assert run_with.carried
    assert answer(store, manifest, run_with, {"a": 1.5}).probabilities == given
    assert "source of Unit" in said[0]
    with pytest.raises(OtherCode, match="--code version") as refused:
        VersionCode(now, store, "own").to_answer(manifest)
    assert manifest.definition[:12] in str(refused.value)
    assert now.definition[:12] in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("policy", ["own", "version"])
def test_a_version_of_the_same_definition_is_run_with_the_processs_own_code(tmp_path: Path, policy: Any) -> None:
    store = store_on(MemoryBackend())
    manifest = published(store, load(tmp_path / "a"), learned(load(tmp_path / "a")))
    commented = load(tmp_path / "b", before="# a comment changes nothing\n")
    assert not VersionCode(commented, store, policy).to_answer(manifest).carried
    assert VersionCode(commented, store, policy).as_then(manifest) is commented


def test_a_version_without_code_is_refused_by_other_code_in_a_line_that_says_why(tmp_path: Path) -> None:
    store = store_on(MemoryBackend())
    then = load(tmp_path / "a", scale=2.0)
    manifest = published(store, then, learned(then), code=False)
    assert not VersionCode(then, store, "own").to_answer(manifest).carried
    now = load(tmp_path / "b", scale=-3.0)
    with pytest.raises(OtherCode, match="carries no code, because an older"):
        VersionCode(now, store, "version").to_answer(manifest)


def test_code_is_not_read_before_its_bytes_were_held_against_the_signed_hash(tmp_path: Path) -> None:
    backend = MemoryBackend()
    store = store_on(backend)
    then = load(tmp_path / "a", scale=2.0)
    manifest = published(store, then, learned(then))
    place = f"coded/objects/{manifest.files[CODE_FILE].sha256}"
    forged = backend.get(place, 1 << 20).replace(b"transform_one", b"transform_two")
    backend.delete(place)
    backend.put_new(place, forged)
    now = load(tmp_path / "b", scale=-3.0)
    with pytest.raises(Damaged, match="not what its manifest says"):
        VersionCode(now, store, "version").to_answer(manifest)


MAY_DIFFER = {
    # what differs in the process: (features= and more of then, of now, what becomes of the version)
    "nothing": ('{"a": "number"}', '{"a": "number"}', "own"),
    "weight": ('{"a": "number"}', '{"a": "number"}, weight={True: 2.0}', "own"),
    "on_timeout": ('{"a": "number"}', '{"a": "number"}, labels=Labels(on_timeout=False)', "own"),
    "label wait": ('{"a": "number"}', '{"a": "number"}, labels=Labels(wait="1h")', "own"),
    "metrics": ('{"a": "number"}', '{"a": "number"}, evaluation=Evaluation(window=10)', "own"),
    "a feature added": ('{"a": "number"}', '{"a": "number", "b": "number"}', "narrowed"),
    "a feature added, unnamed ones refused": (
        '{"a": "number"}, validation=Validation(unknown="refuse")',
        '{"a": "number", "b": "number"}, validation=Validation(unknown="refuse")',
        "narrowed",
    ),
    "a feature named that came unnamed before": (
        '{"a": "number"}, validation=Validation(unknown="keep")',
        '{"a": "number", "b": "number"}, validation=Validation(unknown="keep")',
        "own",
    ),
    "bounds": ('{"a": "number"}', '{"a": "number"}, validation=Validation(bounds="off")', "narrowed"),
    "unnamed features kept from now on": (
        '{"a": "number"}',
        '{"a": "number"}, validation=Validation(unknown="keep")',
        "narrowed",
    ),
    "a feature gone": ('{"a": "number", "b": "number"}', '{"a": "number"}', "refused"),
    "another type": ('{"a": "number"}', '{"a": "string"}', "refused"),
    "no contract any more": ('{"a": "number"}', "{}", "refused"),
    "a contract where there was none": ("{}", '{"a": "number"}', "refused"),
    "unnamed features dropped from now on": (
        '{"a": "number"}, validation=Validation(unknown="keep")',
        '{"a": "number"}',
        "refused",
    ),
    "what missing means": ('{"a": "number"}', '{"a": "number"}, validation=Validation(missing="none")', "refused"),
    "the positive label": ('{"a": "number"}', '{"a": "number"}, positive="yes"', "refused"),
}


@pytest.mark.parametrize(("then", "now", "becomes"), MAY_DIFFER.values(), ids=MAY_DIFFER.keys())
@pytest.mark.parametrize("policy", ["own", "version"])
def test_what_may_differ_between_a_version_and_the_process_that_serves_it(
    tmp_path: Path, then: str, now: str, becomes: str, policy: Any
) -> None:
    """The table of docs/operations.md, row by row."""
    store = store_on(MemoryBackend())
    made_by = load(tmp_path / "a", more=f", features={then}")
    model = learned(made_by)
    manifest = published(store, made_by, model)
    code = VersionCode(load(tmp_path / "b", more=f", features={now}"), store, policy)
    if becomes == "refused":
        with pytest.raises(VersionRefused) as refused:
            code.to_answer(manifest)
        assert not isinstance(refused.value, OtherCode)
        assert "1/20" in str(refused.value)
        return
    run_with = code.to_answer(manifest)
    assert not run_with.carried
    assert run_with.sees == (frozenset({"a"}) if becomes == "narrowed" else None)
    plain, more = {"a": 1.5}, {"a": 1.5, "b": 700.0}
    given = answer(store, manifest, run_with, more if becomes == "narrowed" else plain)
    assert given.probabilities == model.predict_proba_one(plain)


def test_another_kind_of_task_is_refused(tmp_path: Path) -> None:
    store = store_on(MemoryBackend())
    then = load(tmp_path / "a")
    manifest = published(store, then, learned(then))
    now = load(tmp_path / "b")
    other = decode(now.code)
    stream = type(now.stream)(name="coded", task="multiclass", label="y", model=now.stream.model)
    changed = LoadedStream(stream, now.path, now.module, "another", other.definition, now.allowed)
    with pytest.raises(VersionRefused, match="another target"):
        VersionCode(changed, store, "version").to_answer(manifest)


def test_the_code_object_is_written_once_for_many_versions(tmp_path: Path) -> None:
    class Counting(MemoryBackend):
        def __init__(self) -> None:
            super().__init__()
            self.puts: list[str] = []
            self.reads = 0

        def put_new(self, name: str, data: bytes) -> None:
            self.puts.append(name)
            super().put_new(name, data)

        def fetch(self, *given: Any) -> None:
            self.reads += 1
            super().fetch(*given)

    backend = Counting()
    store = ModelStore(backend, store_on(backend).trust, SIGNER)
    loaded = load(tmp_path / "a")
    model = loaded.fresh_model()
    manifests = []
    for examples in range(1, 6):
        model.learn_one({"a": float(examples)}, True)
        manifests.append(published(store, loaded, model, examples))
    place = f"coded/objects/{manifests[0].files[CODE_FILE].sha256}"
    assert {each.files[CODE_FILE] for each in manifests} == {manifests[0].files[CODE_FILE]}
    assert backend.puts.count(place) == 1
    assert backend.reads <= 1, "the state is the same in all of them, the code too: they are not read back each time"


def test_a_file_that_is_no_text_is_refused_where_the_stream_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "scales.py").write_bytes(b"# coding: nonsense\nSCALE = 1\n")
    with pytest.raises(LoadError):
        load(tmp_path / "a", before="def late():\n    import scales\n")


# --- a process of its own --------------------------------------------------------------------------------


def test_a_large_version_answers_from_a_process_of_its_own_with_the_code_that_it_carries(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home", "nowhere:1")
    store = open_store(settings.models, settings.keys, sign=True)
    then = load(tmp_path / "a", more=', features={"a": "number"}')
    model = learned(then)
    manifest = published(store, then, model)
    now = load(tmp_path / "b", scale=-3.0, more=', features={"a": "number", "b": "number"}')
    choose = VersionCode(now, store, "version").to_answer
    face = starter(now, settings, choose)(manifest, None)
    try:
        given = choose(manifest).narrowed(face).predict({"a": 1.5, "b": 3.0})
        assert given.probabilities == model.predict_proba_one({"a": 1.5})
    finally:
        face.close()  # type: ignore[attr-defined]


def test_a_process_of_its_own_refuses_a_file_that_has_changed_since_it_was_read(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home", "nowhere:1")
    store = open_store(settings.models, settings.keys, sign=True)
    loaded = load(tmp_path / "a")
    manifest = published(store, loaded, learned(loaded))
    choose = VersionCode(loaded, store, "own").to_answer
    path = tmp_path / "a" / "coded.py"
    path.write_text(path.read_text().replace("* 2.0", "* 3.0"))
    with pytest.raises(VersionRefused, match=r"coded\.py has changed since"):
        starter(loaded, settings, choose)(manifest, None)


def test_code_that_defines_another_model_here_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_on(MemoryBackend())
    before = "import os\nRATE = float(os.environ.get('CODED_RATE', '1'))\ndef rate():\n    return RATE\n"
    monkeypatch.setenv("CODED_RATE", "5")
    then = load(tmp_path / "a", before=before, scale="rate()")
    manifest = published(store, then, learned(then))
    monkeypatch.delenv("CODED_RATE")
    now = load(tmp_path / "b", before=before, scale="rate()")
    with pytest.raises(VersionRefused, match=r"RATE.*: 5\.0 → 1\.0\).*depends on a file, a package or a setting"):
        VersionCode(now, store, "version").to_answer(manifest)
