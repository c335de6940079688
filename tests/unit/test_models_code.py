"""`models code`: what a version carries and how it differs, as a terminal and a script see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_parts import draft

from consumers.model.version_files import CODE_FILE
from millstream.cli import app
from millstream.config.settings import Settings
from millstream.stream.code_object import Code, encode
from model_store import VersionId, dumps, open_store
from schemas.contract import Contract
from schemas.target import Target

TEXT = "import scales\nif scales:\n\tB = 2\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `millstream models code coded` with these words; returns its exit code, output and error."""
    settings = Settings(tmp_path / "home", "nowhere:1")
    store = open_store(settings.models, settings.keys, sign=True)
    model = dumps({"a": 1})
    for examples, files in ((20, {"coded.py": TEXT}), (30, {"coded.py": f"{TEXT}\x1b[2J", "s\x1b\n.py": "\x9b\f1\n"})):
        code = Code(module="coded", files=files, definition="", contract=Contract(), target=Target(task="binary"))
        store.publish(draft(VersionId("coded", 1, examples)), {"model": model, "state": model, CODE_FILE: encode(code)})

    def run(*words: str) -> tuple[int, str, str]:
        ended = app.run(["models", "code", "coded", *words, "--home", str(settings.home)])
        return ended, *capsys.readouterr()

    return run


def written(path: Path, text: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return str(path)


def test_the_exit_code_says_that_it_was_compared_and_json_whether_it_differs(run: Run, tmp_path: Path) -> None:
    same, other = written(tmp_path / "a" / "coded.py", TEXT), written(tmp_path / "b" / "coded.py", f"{TEXT}C = 3\n")
    assert run("1/20", "--diff", same)[:2] == (0, f"version 1/20 and {same} carry the same code\n")
    code, out, _ = run("1/20", "--diff", other)
    assert (code, out.splitlines()[-1]) == (0, "-C = 3")
    for given, differs in ((same, False), (other, True), ("1/30", True), ("1/20", False)):
        code, out, _ = run("1/20", "--diff", given, "--json")
        assert (code, json.loads(out)["differs"]) == (0, differs)


@pytest.mark.parametrize("text", ["A = 1\ndef broken(:\n", "A = 1\n  B = 2\n"])
def test_a_file_that_does_not_parse_is_an_error_in_one_line_with_its_line(run: Run, tmp_path: Path, text: str) -> None:
    given = written(tmp_path / "a" / "coded.py", text)
    code, out, error = run("1/20", "--diff", given)
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert f"{given}:2: " in error


def test_a_module_beside_the_file_that_does_not_parse_is_one_too(run: Run, tmp_path: Path) -> None:
    beside = written(tmp_path / "a" / "scales.py", "\n\nSCALE = (\n")
    code, _, error = run("1/20", "--diff", written(tmp_path / "a" / "coded.py", TEXT))
    assert code == 1
    assert f"{beside}:3: " in error


def test_stream_files_of_different_names_are_held_against_each_other(run: Run, tmp_path: Path) -> None:
    given = written(tmp_path / "a" / "renamed.py", TEXT)
    assert "carry the same code" in run("1/20", "--diff", given)[1]
    # The file imports a module of the name that the version's stream file has.
    written(tmp_path / "a" / "coded.py", "SCALE = 1\n")
    written(Path(given), f"{TEXT}import coded\n")
    _, out, _ = run("1/20", "--diff", given)
    lines = [line for line in out.splitlines() if line[0] in "+-"]
    assert lines == [
        f"--- {given}:renamed.py",
        "+++ 1/20:coded.py",
        "-import coded",
        f"--- {given}:coded.py",
        "+++ 1/20:coded.py",
        "-SCALE = 1",
    ]


def test_names_and_texts_cannot_move_the_cursor_or_make_lines(run: Run, tmp_path: Path) -> None:
    outputs: list[Any] = [run("1/30"), run("1/30", "--diff", "1/20")]
    outputs.append(run("1/20", "--diff", written(tmp_path / "a\x1b[2J" / "coded.py", TEXT)))
    for code, out, _ in outputs:
        assert code == 0
        assert not [each for each in out if not each.isprintable() and each not in "\n\t"]
    assert "\tB = 2\n\N{REPLACEMENT CHARACTER}[2J\n" in outputs[0][1]
    assert "# --- s\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.py\n" in outputs[0][1]
    assert "+++ 1/30:s\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}.py\n" in outputs[1][1]
    assert "+\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}1\n" in outputs[1][1]
