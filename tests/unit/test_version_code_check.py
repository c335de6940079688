"""`millstream check`: findings about the code that versions carry."""

from __future__ import annotations

import statistics
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from version_code_parts import forgetting_imports, load

from millstream.check.code_checks import look_at_code


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    with forgetting_imports():
        yield


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
