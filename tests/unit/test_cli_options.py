"""The command line: which of flag, environment and file holds, what wrong usage looks like, and exit codes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cyclopts
import pytest

from millstream.cli import app as cli
from millstream.cli.shared_options import Where
from millstream.reading.timestamps import InvalidMoment, moment
from millstream.stream.duration import InvalidDuration
from runtime.kafka_client.library_names import DEFAULT

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line in an empty folder with an empty home; returns (exit code, output, errors)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLSTREAM_HOME", str(tmp_path / "home"))

    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Where]]:
    """Stand in for `millstream run`: what it was given."""
    calls: list[tuple[str, int, Where]] = []

    def record(stream: str, /, *, predictors: int = 1, where: Where = Where()) -> int:  # noqa: B008
        calls.append((stream, predictors, where))
        return 0

    def register(parent: cyclopts.App) -> None:
        parent.command(record, name="run")

    monkeypatch.setattr(cli.run_command, "register", register)
    return calls


def test_a_flag_is_over_the_environment_and_that_over_the_file(
    run: Run, seen: list[tuple[str, int, Where]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "millstream.toml").write_text("predictors = 2\nprefix = 'file-'\nbootstrap = 'file:1'\n")
    monkeypatch.setenv("MILLSTREAM_PREFIX", "environment-")
    monkeypatch.setenv("MILLSTREAM_BOOTSTRAP", "environment:1")
    assert run("run", "s", "--bootstrap", "flag:1")[0] == 0
    [(stream, predictors, where)] = seen
    assert (stream, predictors, where.prefix, where.bootstrap) == ("s", 2, "environment-", "flag:1")
    assert where.home == tmp_path / "home"


def test_a_table_named_after_a_command_is_over_the_top_of_the_file(
    run: Run, seen: list[tuple[str, int, Where]], tmp_path: Path
) -> None:
    (tmp_path / "millstream.toml").write_text("predictors = 2\n[run]\npredictors = 3\n[kafka]\nclient_id = 'x'\n")
    assert run("run", "s")[0] == 0
    assert seen[0][1] == 3
    assert seen[0][2].settings().kafka == {"client_id": "x"}


def test_the_client_is_a_flag_a_variable_and_a_key(
    run: Run, seen: list[tuple[str, int, Where]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("run", "s")[0] == 0
    (tmp_path / "millstream.toml").write_text("client = 'librdkafka'\n")
    assert run("run", "s")[0] == 0
    monkeypatch.setenv("MILLSTREAM_CLIENT", "kafka-python")
    assert run("run", "s")[0] == 0
    assert run("run", "s", "--client", "librdkafka")[0] == 0
    clients = [where.settings().client for *_, where in seen]
    assert clients == [DEFAULT, "librdkafka", "kafka-python", "librdkafka"]


@pytest.mark.parametrize("where", ["flag", "variable", "file"])
def test_an_unknown_client_is_refused_with_both(
    run: Run, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["status", "--bootstrap", "127.0.0.1:1"]
    if where == "file":
        (tmp_path / "millstream.toml").write_text("client = 'aiokafka'\n")
    elif where == "variable":
        monkeypatch.setenv("MILLSTREAM_CLIENT", "aiokafka")
    else:
        words += ["--client", "aiokafka"]
    code, _, errors = run(*words)
    assert code == 2
    assert len(errors.splitlines()) == 1
    assert all(each in errors for each in ('"aiokafka"', '"kafka-python"', '"librdkafka"')), errors


def test_a_client_that_is_not_installed_or_lacks_an_option_is_one_line_and_exit_code_1(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.setenv("MILLSTREAM_CLIENT", "librdkafka")
    code, _, errors = run("status", "--bootstrap", "127.0.0.1:1")
    assert (code, len(errors.splitlines())) == (1, 1), errors
    assert "pip install 'millstream[fast]'" in errors
    monkeypatch.setenv("MILLSTREAM_KAFKA_PROXY_URL", "socks5://ann:canary-secret@proxy:1")
    code, _, errors = run("status", "--bootstrap", "127.0.0.1:1")
    assert (code, len(errors.splitlines())) == (1, 1), errors
    assert "MILLSTREAM_KAFKA_PROXY_URL" in errors
    assert "set client to kafka-python" in errors
    assert "canary" not in errors


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("predictor = 2", "predictor is no option of any command"),
        ("[runn]\npredictors = 2", "[runn] is neither a command nor [kafka]"),
        ("predictors = ", "cannot be read as TOML"),
    ],
)
def test_a_misspelt_file_is_refused_by_name(run: Run, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "millstream.toml").write_text(text)
    code, _, errors = run("run", "s")
    assert code == 2
    assert said in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("run",),
        ("run", "s", "--predictors", "many"),
        ("run", "s", "--predictors", "0"),
        ("run", "s", "--until-idle", "soon"),
        ("run", "s", "--no-such-option"),
        ("run", "s", "too", "many"),
        ("learner", "s", "--new-epoch", "other"),
        ("publish", "s", "x.csv", "--label-delay", "later"),
        ("demo", "--rate", "0"),
        ("demo", "--drift", "--challenger"),
        ("demo", "bananas", "--drift"),
        ("demo", "--drift", "--rate", "-5"),
        ("demo", "--drift", "--serve", "--json"),
        ("predictions", "s", "--limit", "-1"),
        ("predictions", "s", "--prefix", "Under_Score", "--bootstrap", "127.0.0.1:1"),
        ("broker", "reset"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    code, output, errors = run(*arguments)
    assert code == 2
    assert output == ""
    assert errors.startswith("millstream: error: ")
    assert errors.count("\n") == 1
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments", [("predictions", "s"), ("status", "s"), ("pause", "s"), ("examples", "s", "--json")]
)
def test_no_broker_is_one_line_with_the_way_out_and_exit_code_1(run: Run, arguments: tuple[str, ...]) -> None:
    code, output, errors = run(*arguments)
    assert (code, output) == (1, "")
    assert "`millstream broker start`" in errors
    assert errors.count("\n") == 1
    code, _, errors = run(*arguments, "--bootstrap", "127.0.0.1:1")
    assert code == 1
    assert "no Kafka answers at 127.0.0.1:1" in errors


@pytest.mark.parametrize("arguments", [("models", "list"), ("models", "show"), ("topics", "create"), ("check",)])
def test_a_misspelt_stream_is_one_line_with_those_there_are(run: Run, arguments: tuple[str, ...]) -> None:
    code, output, errors = run(*arguments, "nosuch")
    assert (code, output) == (1, "")
    assert "there is no stream 'nosuch': name its file (nosuch.py) or a ready-made one: bananas, " in errors
    assert errors.count("\n") == 1
    assert "there is no stream 'fishing' (did you mean phishing?): name its" in run(*arguments, "fishing")[2]
    assert run("models", "list", "phishing")[0] == 0


def test_no_secret_is_told_when_no_broker_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLSTREAM_KAFKA_SASL_PLAIN_PASSWORD", "canary-secret")
    code, output, errors = run("status", "s", "--bootstrap", "127.0.0.1:1")
    assert code == 1
    assert "canary-secret" not in output + errors


def test_every_command_has_help_with_an_example(run: Run) -> None:
    app = cli.build({}, "none")
    commands = [(name,) for name in app if not name.startswith("-")]
    for name in ("broker", "jobs", "keys", "models", "tokens", "topics"):
        commands.remove((name,))
        commands += [(name, each) for each in app[name] if not each.startswith("-")]
    commands += [("alerts", each) for each in app["alerts"] if not each.startswith("-")]
    for command in commands:
        code, output, _ = run(*command, "--help")
        assert code == 0
        assert f"Example: millstream {' '.join(command)}" in " ".join(output.split())


class _Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def register(self, parent: cyclopts.App) -> None:
        def fail() -> None:
            raise self.error

        parent.command(fail, name="fail")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InvalidDuration("no span"), 2, "no span"),
        (OSError("the disk is full"), 1, "the disk is full"),
        (RuntimeError("surprise"), 1, "this is a defect"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_a_line_and_a_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr(cli, "status", _Raises(error))
    found, _, errors = run("fail")
    assert found == code
    assert said in errors
    assert ("Traceback" in errors) == isinstance(error, RuntimeError)


def test_a_process_without_fixed_hashes_starts_over_with_them(tmp_path: Path) -> None:
    script = "import os, sys; from millstream.cli.main import main; sys.argv = ['millstream', '--version']; main()"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONHASHSEED": "random"}
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip()[0].isdigit()


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -P -m millstream --help | head -c 1"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONHASHSEED": "0"}
    ran = subprocess.run(
        ["/bin/sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--to", "0"), "at least 1 example"),
        (("--labels-from", "yesterday"), "'yesterday' is no point in time: write 2026-05-01T12:00"),
        (("--labels-from", "1h", "--labels-to", "2h"), "is not before --labels-to 2h"),
        (("--without", "nobody.txt"), "--without nobody.txt cannot be read"),
        (("--where", "customer"), "--where 'customer': write feature=value"),
        (("--from", "new"), "'new' is no version"),
        (("--source", "me"), "--source"),
        (("--to", "5", "--where", "a=1", "--adopt"), "cannot be adopted"),
    ],
)
def test_what_a_history_is_to_be_without_is_refused_by_name(run: Run, words: tuple[str, ...], said: str) -> None:
    code, out, err = run("models", "rebuild", "phishing", *words, "--bootstrap", "127.0.0.1:1")
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_points_in_time_are_those_that_were_written() -> None:
    noon = moment("2026-05-01T12:00")
    assert moment("6:30", now_ms=noon) == moment("2026-05-01T06:30")
    assert moment("90m", now_ms=noon) == moment("2026-05-01T10:30")
    assert moment("2026-05-01T10:00Z") == moment("2026-05-01T12:00+02:00") == moment("1777629600000")
    for wrong in ("", "noon", "25:00", "2026-13-01", "-6h", "12"):
        with pytest.raises(InvalidMoment):
            moment(wrong)
