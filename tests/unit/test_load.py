"""From what a user names to a stream, and everything that can be wrong with it, in one clear line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from user_files import forgetful, write, write_stream

from millstream.stream.code_object import decode
from millstream.stream.load import LoadError, WrongModel, load_stream, ready_made
from millstream.version_code.choice import run_code
from model_store import restricted_pickle

__all__ = ["forgetful"]

LR = "linear_model.LogisticRegression()"


def refusal(ref: str) -> str:
    with pytest.raises(LoadError) as caught:
        load_stream(ref)
    message = str(caught.value)
    assert "\n" not in message
    assert "Traceback" not in message
    return message


def test_a_ready_made_stream_loads_by_its_name() -> None:
    loaded = load_stream("phishing")
    assert loaded.stream.name == "phishing"
    assert loaded.module == "streams.phishing"
    assert loaded.source == "river:Phishing"
    assert loaded.allowed == frozenset()


@pytest.mark.parametrize("name", sorted(ready_made()))
def test_every_ready_made_stream_is_named_like_its_file(name: str) -> None:
    loaded = load_stream(name)
    assert loaded.stream.name == name
    assert load_stream(name.replace("-", "_")).path == loaded.path
    assert load_stream(str(loaded.path)).module == loaded.module


def test_a_file_loads_under_its_own_name_with_its_folder_last(tmp_path: Path) -> None:
    loaded = load_stream(write_stream(tmp_path, LR))
    assert loaded.module == "userfile"
    assert loaded.path == tmp_path / "userfile.py"
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1


def test_a_folder_that_stood_first_on_the_import_path_is_moved_to_its_end(tmp_path: Path) -> None:
    sys.path.insert(0, str(tmp_path))
    load_stream(write_stream(tmp_path, LR))
    assert sys.path.count(str(tmp_path)) == 1
    assert sys.path[-1] == str(tmp_path)


def test_a_file_may_use_another_one_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "RATE = 0.5\n", "user_rates.py")
    ref = write_stream(
        tmp_path, "linear_model.LogisticRegression(optim.SGD(user_rates.RATE))", before="import user_rates"
    )
    assert "learning_rate = 0.5" in load_stream(ref).definition_text


def test_loading_twice_gives_the_same_classes(tmp_path: Path) -> None:
    ref = write_stream(tmp_path, "Mine()", before="class Mine(linear_model.LogisticRegression):\n    pass")
    first, second = load_stream(ref), load_stream(ref)
    assert type(first.stream.model()) is type(second.stream.model())


# --- what a version may name -------------------------------------------------------------------------


def test_the_users_own_classes_and_functions_are_allowed_and_no_others(tmp_path: Path) -> None:
    write(tmp_path, "def double(x):\n    return {k: 2 * v for k, v in x.items()}\n", "user_functions.py")
    ref = write_stream(
        tmp_path,
        "compose.FuncTransformer(user_functions.double) | Scaler() | linear_model.LogisticRegression()",
        before="""
        import os
        import user_functions
        class Scaler(preprocessing.StandardScaler):
            pass
        class Unused:
            pass
        """,
    )
    loaded = load_stream(ref)
    assert loaded.allowed == {("userfile", "Scaler"), ("user_functions", "double")}
    data = restricted_pickle.dumps(loaded.stream.model())
    assert type(restricted_pickle.loads(data, extra=loaded.allowed)).__name__ == "Pipeline"
    with pytest.raises(restricted_pickle.PickleNotAllowed):
        restricted_pickle.loads(data)


def test_a_standard_function_in_a_model_is_not_allowed(tmp_path: Path) -> None:
    ref = write_stream(
        tmp_path,
        "compose.TargetTransformRegressor(linear_model.LinearRegression(), math.log, math.exp)",
        task="regression",
        before="import math",
    )
    assert load_stream(ref).allowed == frozenset()


# --- no such file ------------------------------------------------------------------------------------


def test_an_unknown_name_lists_the_ready_made_and_the_nearest() -> None:
    message = refusal("fishing")
    assert "did you mean phishing?" in message
    for name in ready_made():
        assert name in message


def test_a_missing_file_names_one_that_is_nearly_called_so(tmp_path: Path) -> None:
    write_stream(tmp_path, LR)
    assert "did you mean" in refusal(str(tmp_path / "usrfile.py"))
    assert "userfile.py" in refusal(str(tmp_path / "usrfile.py"))


def test_a_path_without_its_ending_is_completed_in_the_message(tmp_path: Path) -> None:
    write_stream(tmp_path, LR)
    assert f"did you mean the file {tmp_path / 'userfile.py'}" in refusal(str(tmp_path / "userfile"))


def test_a_folder_and_a_file_of_another_kind_are_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal(str(tmp_path))
    assert "ends in .py" in refusal(write(tmp_path, "", "stream.txt"))


# --- names that collide ------------------------------------------------------------------------------


NAMESAKES = [
    "runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams", "tests",
    "json", "random", "river", "numpy", "msgspec", "_thread", "test",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMESAKES)
def test_a_file_named_like_another_module_loads_under_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    there = sys.modules.get(name)
    plain = write_stream(tmp_path, "Mine()", before="class Mine(linear_model.LogisticRegression):\n    pass")
    ref = write(tmp_path, Path(plain).read_text(), f"{name}.py")
    loaded = load_stream(ref)
    assert loaded.module == f"millstream_file_{name}"
    assert load_stream(ref).stream is loaded.stream, "a second load finds the first"
    assert sys.modules.get(name) is there, "the other module is what it was"
    assert loaded.allowed == {(f"millstream_file_{name}", "Mine")}
    data = restricted_pickle.dumps(loaded.stream.model())
    assert type(restricted_pickle.loads(data, extra=loaded.allowed)) is type(loaded.stream.model())
    assert f"in millstream_file_{name}.py> = " in loaded.definition_text


@pytest.mark.parametrize("name", ["river", "schemas"])
def test_a_version_of_a_namesake_runs_with_the_code_that_it_carries(tmp_path: Path, name: str) -> None:
    plain = write_stream(tmp_path, "Mine()", before="class Mine(linear_model.LogisticRegression):\n    pass")
    loaded = load_stream(write(tmp_path, Path(plain).read_text(), f"{name}.py"))
    ran = run_code(decode(loaded.code))
    assert ran.definition == loaded.definition
    assert ran.find is not None
    mine = ran.find(f"millstream_file_{name}", "Mine")
    assert mine.__mro__[1].__module__.startswith("river."), "its own imports mean the installed package"


def test_a_namesake_gets_the_same_name_in_every_process(tmp_path: Path) -> None:
    ref = write(tmp_path, Path(write_stream(tmp_path, LR)).read_text(), "model_store.py")
    code = f"from millstream.stream.load import load_stream; print(load_stream({ref!r}).module)"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
        assert done.stdout == "millstream_file_model_store\n"


@pytest.mark.parametrize("name", ["my-stream", "1st", "class", "a b"])
def test_a_file_that_cannot_be_a_module_is_refused(tmp_path: Path, name: str) -> None:
    assert "cannot be a module's name" in refusal(write(tmp_path, "", f"{name}.py"))


@pytest.mark.parametrize("name", ["runtime", "schemas", "queue", "river"])
def test_an_import_of_a_hidden_file_beside_it_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    write(tmp_path, "HERE = True\n", f"{name}.py")
    message = refusal(write(tmp_path, f"from {name} import HERE\n"))
    assert "userfile.py:1: imports" in message
    assert f"not {name}.py beside it" in message


def test_a_stream_file_beside_it_is_not_what_an_import_means(tmp_path: Path) -> None:
    write(tmp_path, Path(write_stream(tmp_path, LR)).read_text(), "river.py")
    assert load_stream(write_stream(tmp_path, LR)).stream.name == "mine"


def test_a_namesake_that_is_not_imported_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path, "", "server.py")
    (tmp_path / "tests").mkdir()
    assert load_stream(write_stream(tmp_path, LR)).stream.name == "mine"


def test_two_files_of_one_name_in_one_process_are_two_streams(tmp_path: Path) -> None:
    first = load_stream(write_stream(tmp_path, LR))
    for folder in ("other", "third"):
        (tmp_path / folder).mkdir()
    second = load_stream(write_stream(tmp_path / "other", "tree.HoeffdingTreeClassifier()"))
    third = load_stream(write_stream(tmp_path / "third", LR))
    assert [first.module, second.module, third.module] == [
        "userfile",
        "millstream_file_userfile",
        "millstream_file_userfile_2",
    ]
    assert first.definition == third.definition != second.definition


# --- what the file itself gets wrong -----------------------------------------------------------------


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "x = 1\ny = (\n"))
    assert f"{tmp_path / 'userfile.py'}:2: " in message


def test_a_syntax_error_in_a_file_beside_names_that_file(tmp_path: Path) -> None:
    write(tmp_path, "def\n", "user_broken.py")
    assert "user_broken.py:1: " in refusal(write(tmp_path, "import user_broken\n"))


def test_an_exception_names_the_users_line_and_not_the_librarys(tmp_path: Path) -> None:
    body = "import json\n\ndef read():\n    return json.loads('{')\n\nread()\n"
    message = refusal(write(tmp_path, body))
    assert message.startswith(f"{tmp_path / 'userfile.py'}:4: JSONDecodeError")


def test_a_wrong_argument_of_stream_names_the_line_and_the_argument(tmp_path: Path) -> None:
    message = refusal(write_stream(tmp_path, LR, task="clustering"))
    assert "userfile.py:" in message
    assert "task='clustering'" in message


def test_a_missing_import_is_said(tmp_path: Path) -> None:
    assert "No module named 'no_such_thing'" in refusal(write(tmp_path, "import no_such_thing\n"))


def test_a_file_that_exits_is_said(tmp_path: Path) -> None:
    assert "userfile.py:2: the file ends the program" in refusal(write(tmp_path, "import sys\nsys.exit(3)\n"))


def test_a_failed_import_leaves_no_half_module_behind(tmp_path: Path) -> None:
    refusal(write(tmp_path, "1 / 0\n"))
    assert "userfile" not in sys.modules


def test_no_stream_and_several_are_refused(tmp_path: Path) -> None:
    assert "it has no Stream" in refusal(write(tmp_path, "x = 1\n"))
    body = """
    from millstream import Stream
    one = Stream(name="one", task="binary", model=list)
    two = Stream(name="two", task="binary", model=list)
    """
    assert "several Streams in it (one, two)" in refusal(write(tmp_path, body, "user_two.py"))


def test_one_stream_under_two_names_is_one(tmp_path: Path) -> None:
    ref = write_stream(tmp_path, LR)
    Path(ref).write_text(Path(ref).read_text() + "again = stream\n")
    assert load_stream(ref).stream.name == "mine"


def test_a_model_that_raises_names_the_users_line(tmp_path: Path) -> None:
    message = refusal(write_stream(tmp_path, "linear_model.LogisticRegression(nonsense=1)"))
    assert "model= raised" in message
    assert "userfile.py:" in message
    assert "nonsense" in message


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("None", "None, which is not a River model"),
        ("object()", "builtins.object, which is not a River model"),
        ("linear_model.LogisticRegression", "call it: LogisticRegression()"),
        ("compose.Pipeline()", "an empty pipeline"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, model: str, said: str) -> None:
    with pytest.raises(WrongModel, match=r"userfile\.py"):
        load_stream(write_stream(tmp_path, model))
    assert said in refusal(write_stream(tmp_path, model))


def test_a_users_folder_does_not_hide_our_packages_in_a_process_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "raise AssertionError('shadowed')\n", "consumers.py")
    ref = write_stream(tmp_path, LR)
    load = f"from millstream.stream.load import load_stream; load_stream({ref!r})"
    code = f"{load}; import consumers; print(consumers.__file__)"
    ran = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert not ran.stdout.startswith(str(tmp_path))


def test_a_file_that_was_changed_within_the_second_is_run_as_it_says(tmp_path: Path) -> None:
    """Python tells compiled code from its source by size and second only."""
    for rate in (1, 2):
        path = write_stream(tmp_path, "linear_model.LogisticRegression()", before=f"RATE = {rate}")
        os.utime(path, (1_700_000_000, 1_700_000_000))
        assert load_stream(path)
        assert rate == sys.modules["userfile"].RATE
        del sys.modules["userfile"]
