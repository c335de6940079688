"""The code that travels with a version: what is collected, and how it is run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from version_code_parts import forgetting_imports, learned, load

from millstream.stream.code_object import Code, decode, encode
from millstream.stream.load import LoadedStream, load_stream
from millstream.stream.stream_file import explain
from millstream.version_code.choice import run_code
from model_store import (
    Damaged,
    PickleNotAllowed,
    VersionRefused,
    dumps,
    loads,
)
from schemas.contract import Contract
from schemas.target import Target


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    with forgetting_imports():
        yield


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
