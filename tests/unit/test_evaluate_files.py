"""`millstream evaluate` with odd files: what it reads, what it writes, and what it leaves behind when it is ended."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import millstream
from millstream.cli import app as cli
from millstream.evaluation.output_file import NotWritten
from runtime.exits import FAILED, INTERRUPTED, USAGE

FILE = """
from pathlib import Path
from river import linear_model
from millstream import Stream

class Model(linear_model.LogisticRegression):
    def learn_one(self, x, y, **more):
        super().learn_one(x, y, **more)
        {at_row}

stream = Stream(name="mine", task="binary", label="y", model={model})
"""
HEADER = "x,y\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(FILE.format(at_row="", model="Model"))
    Path("rows.csv").write_text(HEADER + rows(range(200)))


def rows(numbers: Sequence[int]) -> str:
    return "".join(f"{number % 7},{number % 2}\n" for number in numbers)


def evaluated(*words: str) -> int:
    return cli.run(("evaluate", "mine.py", *words))


def left() -> list[str]:
    return sorted(each.name for each in Path().iterdir() if each.name != "__pycache__")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "rows.csv is empty: its first line must name the columns"),
        (HEADER, "no row of rows.csv could be measured: it has no rows"),
        ("x,z\n1,2\n", "rows.csv has no column 'y' (the label); it has: x, z"),
        ("x,y\n1,\n2,\n", "no row of rows.csv could be measured: none has a label"),
        ("x,y\n1,perhaps\n", "no row of rows.csv could be measured: line 2: "),
    ],
)
def test_rows_that_cannot_be_measured_are_an_error_of_one_line(
    content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.csv").write_text(content)
    assert evaluated("--on", "rows.csv", "--html", "page.html") == FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert left() == ["mine.py", "rows.csv"]


def test_rows_of_one_class_have_no_curve_and_no_lie() -> None:
    Path("rows.csv").write_text(HEADER + "".join(f"{number % 7},0\n" for number in range(200)))
    report = millstream.evaluate("mine.py", on="rows.csv")
    found = report.result("mine, progressive").metrics
    assert report.measured == 200
    assert found["F1"].value == 0
    assert 0 < (found["LogLoss"].value or 0) < 1
    assert "class frequencies" in report.html("page.html").read_text()
    assert found["Accuracy"].value == 1


def test_an_unfinished_last_line_is_refused_and_named() -> None:
    Path("rows.csv").write_text(HEADER + rows(range(50)) + "3")
    report = millstream.evaluate("mine.py", on="rows.csv")
    assert report.measured == 50
    assert report.refused[0].first == {"line 52": "1 columns; the header has 2"}


@pytest.mark.parametrize("other", ["mine.py", "second.py"])
def test_a_file_that_grows_is_measured_up_to_where_it_ended(other: str) -> None:
    grow = 'with Path("rows.csv").open("a") as file: file.write("1,1\\n" * 3)'
    Path("mine.py").write_text(FILE.format(at_row=grow, model="Model"))
    Path("second.py").write_text(Path("mine.py").read_text().replace('"y", ', '"y", features={"x": "number"}, '))
    report = millstream.evaluate("mine.py", other, on="rows.csv")
    assert report.measured == report.rows == 200
    assert report.notes == ["rows.csv was changed while it was read: rows added meanwhile are not measured"]


def test_two_files_of_one_name_are_two_models(capsys: pytest.CaptureFixture[str]) -> None:
    for folder, model in (("v1", "Model"), ("v2", "lambda: linear_model.LogisticRegression(l2=1e6)")):
        Path(folder).mkdir()
        Path(folder, "fraud.py").write_text(FILE.format(at_row="", model=model))
    report = millstream.evaluate("v1/fraud.py", "v2/fraud.py", on="rows.csv")
    first, second = [each for each in report.results if each.kind == "model"]
    assert (first.name, second.name) == ("v1/fraud.py, progressive", "v2/fraud.py, progressive")
    assert first.metrics["LogLoss"] != second.metrics["LogLoss"]
    alone = millstream.evaluate("v2/fraud.py", on="rows.csv")
    assert alone.result("fraud, progressive").metrics == second.metrics
    assert cli.run(("evaluate", "v1/fraud.py", "v2/fraud.py", "--on", "rows.csv")) == 0
    assert "v2/fraud.py, progressive against v1/fraud.py, progressive" in capsys.readouterr().out


# --- what it writes --------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--html", "--png"])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("folder", "this is a folder; name a file in it"),
        ("", "this is a folder; name a file in it"),
        ("nowhere/out", "there is no folder"),
        ("rows.csv", "that would overwrite what is read"),
        ("mine.py", "that would overwrite what is read"),
        ("link", "that would overwrite what is read"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_read(
    option: str, path: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder").mkdir()
    Path("link").symlink_to("rows.csv")
    before = Path("rows.csv").read_text()
    assert evaluated("--on", "rows.csv", option, path) == USAGE
    said_out, said_err = capsys.readouterr()
    (line,) = said_err.splitlines()
    assert f"{option} {path or '.'}" in line
    assert said in line
    assert said_out == ""
    assert Path("rows.csv").read_text() == before


def test_picture_and_page_need_two_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluated("--on", "rows.csv", "--png", "out", "--html", "./out") == USAGE
    assert "give each its own file" in capsys.readouterr().err


@pytest.mark.parametrize("rights", [0o555, 0o444])
def test_a_folder_that_may_not_be_written_to_is_refused_first(rights: int) -> None:
    # Root may write everywhere, so the question is asked by a process that is not root.
    code = (
        "import os, sys; from pathlib import Path; from millstream.evaluation.output_file import require_place;"
        "os.geteuid() == 0 and os.setresuid(65534, 65534, 65534); require_place('--html', Path(sys.argv[1]), ())"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # the test's own folder is closed to others
        Path(folder).chmod(rights)
        ended = subprocess.run(
            [sys.executable, "-c", code, f"{folder}/page.html"], capture_output=True, text=True, check=False
        )
    assert ended.returncode == 1
    assert f"{folder} may not be written to; name another place" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("option", ["--html", "--png"])
def test_a_full_disk_is_an_error_and_the_result_is_shown_all_the_same(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    assert evaluated("--on", "rows.csv", option, "/dev/full") == FAILED
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert "/dev/full cannot be written: No space left on device" in line
    assert "mine, progressive" in said.out
    assert "wrote" not in said.out


def test_a_file_that_is_cut_short_leaves_the_old_one() -> None:
    report = millstream.evaluate("mine.py", on="rows.csv")
    page = report.html("page.html")
    before = page.read_text()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(NotWritten, match=r"page.html cannot be written: File too large"):
            report.html(page)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert page.read_text() == before
    assert left() == ["mine.py", "page.html", "rows.csv"]


def test_a_link_stays_and_rights_are_the_usual_ones() -> None:
    report = millstream.evaluate("mine.py", on="rows.csv")
    Path("site").mkdir()
    Path("page.html").symlink_to("site/index.html")
    report.html("page.html")
    assert Path("page.html").is_symlink()
    fresh = Path("other.html")
    fresh.touch()
    assert Path("site/index.html").stat().st_mode == fresh.stat().st_mode
    fresh.chmod(0o604)
    report.html(fresh)
    assert fresh.stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_an_end_in_the_middle_leaves_the_old_files(ending: signal.Signals) -> None:
    wait = 'Path("reached").touch(); __import__("threading").Event().wait()'
    Path("mine.py").write_text(FILE.format(at_row=wait, model="Model"))
    for name in ("page.html", "curves.png"):
        Path(name).write_text("old")
    outputs = ("--html", "page.html", "--png", "curves.png")
    command = [sys.executable, "-m", "millstream", "evaluate", "mine.py", "--on", "rows.csv", *outputs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not Path("reached").exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
            os.kill(process.pid, ending)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()  # without this a test that fails would wait for a process that never ends
    assert process.returncode == (INTERRUPTED if ending is signal.SIGINT else -ending)
    assert (out, err) == ("", "")
    assert [Path(name).read_text() for name in ("page.html", "curves.png")] == ["old", "old"]
    assert left() == ["curves.png", "mine.py", "page.html", "reached", "rows.csv"]


def test_names_that_a_picture_could_misread_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    Path("rows $x^{$.csv").write_text(Path("rows.csv").read_text())
    Path("_mine.py").write_text(Path("mine.py").read_text())
    assert cli.run(("evaluate", "_mine.py", "--on", "rows $x^{$.csv", "--png", "curves.png")) == 0
    assert capsys.readouterr().err == ""
    assert Path("curves.png").read_bytes().startswith(b"\x89PNG")
