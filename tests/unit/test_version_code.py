"""The code that travels with a version: what is collected, how it is run, and what runs with which."""

from __future__ import annotations

import importlib
import statistics
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from store_parts import SIGNER, draft, store_on

from consumers.model.version_files import CODE_FILE
from consumers.model.version_runtime import RunWith
from millstream.check.code_checks import look_at_code
from millstream.config.settings import Settings
from millstream.processes.model_process_main import starter
from millstream.stream.code_object import Code, decode, encode
from millstream.stream.errors import LoadError
from millstream.stream.load import LoadedStream, load_stream
from millstream.stream.processor_rules import definition_of
from millstream.stream.stream_file import explain
from millstream.version_code.choice import OtherCode, VersionCode, run_code
from model_store import (
    Damaged,
    Manifest,
    MemoryBackend,
    ModelStore,
    PickleNotAllowed,
    VersionId,
    VersionRefused,
    dumps,
    loads,
    open_store,
)
from schemas.contract import Contract
from schemas.target import Target

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


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    """Forget what the files of a test imported, so that the next one may use the same names."""
    modules, path = set(sys.modules), list(sys.path)
    yield
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


IMPORTS = """
import scales, json
import importlib
late = importlib.import_module("late")
def later():
    import shared.other
"""
IMPORT_SCALE = """
import scales
from scales import SCALE as direct
def late():
    import scales
    return scales.SCALE
"""
A_DATACLASS = """
from __future__ import annotations
import dataclasses
@dataclasses.dataclass
class Kind:
    scale: float = 2.0
"""


# --- what is collected ------------------------------------------------------------------------------------


def test_the_stream_file_and_what_it_imports_beside_it_travel_and_nothing_else(tmp_path: Path) -> None:
    files = {
        "scales.py": "from shared.deep import numbers\nSCALE = numbers.TWO\n",
        "shared/__init__.py": "",
        "shared/deep/__init__.py": "from . import numbers\n",
        "shared/deep/numbers.py": "from ..other import TWO\n",
        "shared/other.py": "TWO = 2.0\n",
        "shared/unused.py": "raise SystemExit\n",
        "neighbour.py": "SECRET = 1\n",
        "late.py": "LATE = 1\n",
    }
    code = decode(load(tmp_path / "a", before=IMPORTS, files=files).code)
    assert set(code.files) == {
        "coded.py",
        "late.py",
        "scales.py",
        "shared/__init__.py",
        "shared/deep/__init__.py",
        "shared/deep/numbers.py",
        "shared/other.py",
    }
    assert code.module == "coded"
    assert "class Unit" in code.files[code.main]


def test_the_same_files_give_the_same_object_and_a_ready_made_stream_has_one_too(tmp_path: Path) -> None:
    assert load(tmp_path / "a").code == load(tmp_path / "b").code
    code = decode(load_stream("phishing").code)
    assert [*code.files] == ["streams/phishing.py"]
    assert run_code(code).definition == load_stream("phishing").definition


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[1]", b'{"format":2,"module":"m","files":{},"definition":""', b"\xff"]
)
def test_what_is_no_code_is_damaged(damage: bytes) -> None:
    with pytest.raises(Damaged):
        decode(damage)


def test_code_of_another_format_or_without_its_stream_file_is_damaged() -> None:
    code = Code(module="m", files={"m.py": ""}, definition="", contract=Contract(), target=Target(task="binary"))
    assert decode(encode(code)) == code
    with pytest.raises(Damaged, match="format 2"):
        decode(encode(code).replace(b'"format":1', b'"format":2'))
    with pytest.raises(Damaged, match=r"m\.py"):
        decode(encode(code).replace(b'"m.py"', b'"n.py"'))


HIDDEN = {
    "feats.py": "from statistics import mean\nimport yaml_\ndef scale():\n    import numpy\n    return mean([1, 3])\n",
    "statistics.py": "def mean(values):\n    return -1.0\n",
    "numpy/__init__.py": "",
    "yaml_.py": "",
}


def test_a_module_that_pythons_own_or_an_installed_one_hides_is_left_out_and_runs_nowhere(tmp_path: Path) -> None:
    loaded = load(tmp_path / "a", before="import feats\n", scale="feats.scale()", files=HIDDEN)
    code = decode(loaded.code)
    assert [*code.files] == ["coded.py", "feats.py", "yaml_.py"]
    for each in (loaded, run_code(code)):
        assert each.fresh_model()["Unit"].transform_one({"a": 1.0}) == {"u": 2.0}


BY_NAME = """
import importlib, importlib.util
from importlib import import_module as load_it
early = importlib.import_module("early")
def late():
    assert importlib.util.find_spec("json") is importlib.import_module("importlib").util.find_spec("json")
    found = [load_it("late"), importlib.import_module(name="shared.late"), load_it(".late", package="shared")]
    return [early.SCALE, *(each.SCALE for each in found), __import__("other").SCALE, load_it("json").loads("2")]
"""


def test_modules_that_are_imported_by_their_names_travel_and_are_found_among_the_versions_own(tmp_path: Path) -> None:
    names = ("early", "late", "other", "shared.late")

    def loaded_from(folder: str, scale: int) -> LoadedStream:
        for name in names:
            sys.modules.pop(name, None)
        scales = {f"{name.replace('.', '/')}.py": f"SCALE = {scale}\n" for name in names}
        again = "from importlib import import_module\nimport_module('.late', __package__)\n"
        files = {**scales, "shared/__init__.py": again}
        return load(tmp_path / folder, before=BY_NAME, scale="0 or late()", files=files)

    loaded = [loaded_from("a", 3), loaded_from("b", 5)]
    for each, scale in zip(loaded, (3, 5), strict=True):
        code = decode(each.code)
        paths = {"early.py", "late.py", "other.py", "shared/late.py"}
        assert set(code.files) == {"coded.py", "shared/__init__.py", *paths}
        ran = run_code(code)
        assert ran.fresh_model()["Unit"].transform_one({"a": 1})["u"] == [scale] * 5 + [2]
        assert ran.definition == each.definition


# --- namespaces -------------------------------------------------------------------------------------------


def test_two_versions_of_one_class_are_alive_at_once_and_each_finds_its_own_modules(tmp_path: Path) -> None:
    product = "scales.SCALE * late() * direct"
    loaded = [
        load(tmp_path / name, before=IMPORT_SCALE, scale=product, files={"scales.py": f"SCALE = {scale}\n"})
        for name, scale in (("a", 2.0), ("b", -3.0))
    ]
    old, new = (run_code(decode(each.code)) for each in loaded)
    models = [each.fresh_model() for each in (old, new)]
    assert [each["Unit"].transform_one({"a": 1.0})["u"] for each in models] == [8.0, -27.0]
    assert type(models[0]["Unit"]) is not type(models[1]["Unit"])
    assert [each.definition for each in (old, new)] == [each.definition for each in loaded]
    assert sys.modules["scales"].SCALE == -3.0, "the process's own module is as it was"


def test_a_model_run_with_a_versions_own_code_is_saved_and_loaded_with_it_or_with_the_files(tmp_path: Path) -> None:
    loaded = load(tmp_path / "a")
    ran = run_code(decode(loaded.code))
    data = dumps(learned(ran))
    again = loads(data, extra=ran.allowed, find=ran.find)
    assert type(again["Unit"]) is type(ran.fresh_model()["Unit"])
    assert type(loads(data, extra=loaded.allowed)["Unit"]) is sys.modules["coded"].Unit
    with pytest.raises(PickleNotAllowed, match=r"coded\.Unit"):
        loads(data)


def test_a_dataclass_an_error_and_a_relative_import_work_in_a_versions_code(tmp_path: Path) -> None:
    files = {"shared/__init__.py": "from .kinds import Kind\n", "shared/kinds.py": A_DATACLASS}
    loaded = load(tmp_path / "a", before="from shared import Kind\nKIND = Kind()\n", scale="KIND.scale", files=files)
    ran = run_code(decode(loaded.code))
    assert ran.definition == loaded.definition
    with pytest.raises(KeyError) as caught:
        ran.fresh_model()["Unit"].transform_one({})
    assert "version code" in str(caught.traceback[-1].path)
    assert 'x["a"]' in str(caught.traceback[-1].statement)


def test_an_error_at_run_time_in_a_versions_code_is_explained_with_its_own_line(tmp_path: Path) -> None:
    files = {"scales.py": "def scale():\n    import json\n    return json.loads('{')\n"}
    ran = run_code(decode(load(tmp_path / "a", before="import scales\n", scale="scales.scale()", files=files).code))
    unit = ran.fresh_model()["Unit"]
    (package, _, _) = type(unit).__module__.partition(".")
    path = Path(f"<version code {package.removeprefix('millstream_code_')}>/coded.py")
    with pytest.raises(ValueError, match="Expecting") as caught:
        unit.transform_one({"a": 1.0})
    assert explain(caught.value, path).startswith(f"{path.parent}/scales.py:3: JSONDecodeError: Expecting")


def test_code_that_does_not_run_by_itself_refuses_the_version(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "scale.txt").write_text("2.0")
    before = "from pathlib import Path\nSCALE = float((Path(__file__).parent / 'scale.txt').read_text())\n"
    loaded = load(tmp_path / "a", before=before, scale="SCALE")
    for _ in range(2):
        with pytest.raises(VersionRefused, match=r"does not run: .*FileNotFoundError"):
            run_code(decode(loaded.code))


# --- what runs with which ---------------------------------------------------------------------------------


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


# --- a process of its own, and `check` --------------------------------------------------------------------


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


def test_check_names_what_the_versions_carry_and_what_looks_like_a_secret(tmp_path: Path) -> None:
    plain = load(tmp_path / "a", before="import scales\n", files={"scales.py": "SCALE = 1.0\n"})
    (found,) = look_at_code(plain)
    assert (found.severity, "coded.py, scales.py" in found.text) == ("ok", True)
    secret = load(tmp_path / "b", before="import scales\n", files={"scales.py": 'A = 1\nDB_PASSWORD = "hunter22"\n'})
    warned, _ = look_at_code(secret)
    assert warned.severity == "warning"
    assert "scales.py:2" in warned.text
    assert "hunter22" not in warned.text


def test_check_warns_of_code_that_changes_modules_or_classes_of_others(tmp_path: Path) -> None:
    patching = "import types\nimport scales\ntypes.millstream_test = 2\nscales.SCALE = 2.0\n"
    files = {"scales.py": "import statistics\nstatistics.millstream_test = 2\nSCALE = 1.0\n"}
    try:
        warned, found = look_at_code(load(tmp_path / "a", before=patching, files=files))
    finally:
        del types.millstream_test, statistics.millstream_test  # type: ignore[attr-defined]
    assert (warned.severity, found.severity) == ("warning", "ok")
    assert "coded.py:6 (types.millstream_test), scales.py:2 (statistics.millstream_test)" in warned.text
    assert "scales.SCALE" not in warned.text


def test_check_warns_of_code_that_does_not_stand_by_itself(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "scale.txt").write_text("2.0")
    reads = "from pathlib import Path\nSCALE = float((Path(__file__).parent / 'scale.txt').read_text())\n"
    (found,) = look_at_code(load(tmp_path / "a", before=reads, scale="SCALE"))
    assert (found.severity, "scale.txt" in found.text) == ("warning", True)
    changing = "import time\nSCALE = float(time.monotonic_ns())\ndef late():\n    return SCALE\n"
    (found,) = look_at_code(load(tmp_path / "b", before=changing, scale="late()"))
    assert (found.severity, "SCALE" in found.text) == ("warning", True)
