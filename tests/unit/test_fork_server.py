"""The fork server: it forks the command asked for, which ends as it would by itself and never outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from millstream.config.settings import interpreter
from millstream.processes.fork_server import Forked, ForkServer, Process
from millstream.processes.role_events import RoleEvent, follow
from runtime.failpoints import VARIABLE

# Only where Linux has it; elsewhere roles are started one by one.
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fork server works only on Linux")
Start = Callable[..., Process]
SLOW = """
import os, signal, time

def end(*_):
    while not os.path.exists({0!r}):
        time.sleep(0.02)
    os._exit(3)

signal.signal(15, end)
print("up", flush=True)
time.sleep(600)
"""
BUSY = "import signal, time; signal.signal(15, lambda *_: os._exit(3)); print('up', flush=True); time.sleep(600)"


@pytest.fixture
def start(fork_server: ForkServer) -> Iterator[Start]:
    """Return what starts a process, whose output is closed at the end."""
    started: list[Process] = []

    def start(command: Sequence[str], environment: Mapping[str, str] = os.environ) -> Process:
        started.append(fork_server.launch(command, environment))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait(60)
        if each.stdout is not None:
            each.stdout.close()


@pytest.fixture
def waiting(tmp_path: Path) -> list[str]:
    """Return a role that waits: its stream file takes for ever to import."""
    stream = tmp_path / "waits.py"
    stream.write_text(f"import os\nprint(os.getpid(), ascii(os.environ.get('GIVEN', '')), flush=True)\n{BUSY}\n")
    return [*interpreter(), "joiner", str(stream), "--home", str(tmp_path / "home")]


def lines(process: Process) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.decode().rstrip()


def own_process(fork_server: ForkServer) -> psutil.Process:
    assert fork_server._process is not None
    return psutil.Process(fork_server._process.pid)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_it_forks_is_the_command_with_its_output_and_code(start: Start) -> None:
    right = start([*interpreter(), "--version"])
    wrong = start([*interpreter(), "joiner"], {**os.environ, "MILLSTREAM_LOG_FORMAT": "text"})
    assert isinstance(right, Forked)
    assert list(lines(right)) == [version("millstream")]
    assert right.wait(60) == 0
    assert [line for line in lines(wrong) if "STREAM requires an argument" in line]
    assert wrong.wait(60) == 2
    assert (right.poll(), wrong.poll()) == (0, 2), "and so it stays"


def test_each_has_its_own_environment_group_and_name(start: Start, waiting: list[str]) -> None:
    roles = [start(waiting, {**os.environ, "GIVEN": str(number)}) for number in range(2)]
    try:
        for number, role in enumerate(roles):
            told = lines(role)
            assert next(told) == f"{role.pid} '{number}'"
            assert next(told) == "up"
            assert os.getpgid(role.pid) == role.pid
            assert psutil.Process(role.pid).name() == "joiner"
            assert role.poll() is None
    finally:
        for role in roles:
            role.send_signal(signal.SIGTERM)
    assert [role.wait(60) for role in roles] == [3, 3]
    for role in roles:
        role.kill()  # it is gone, and nobody else gets the signal


def test_a_killed_one_is_told_by_its_signal_while_the_others_go_on(start: Start, waiting: list[str]) -> None:
    first, second = (start(waiting) for _ in range(2))
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0.05)
    os.kill(first.pid, signal.SIGKILL)
    assert first.wait(60) == -signal.SIGKILL
    assert second.poll() is None
    second.kill()
    assert second.wait(60) == -signal.SIGKILL


def test_one_that_is_told_to_end_before_it_hears_signals_ends(start: Start, waiting: list[str]) -> None:
    roles = [start(waiting) for _ in range(20)]
    for role in roles:
        os.kill(role.pid, signal.SIGTERM)
    assert {role.wait(60) for role in roles} <= {-signal.SIGTERM, 3}


def test_it_has_one_thread_as_who_forks_must(fork_server: ForkServer, start: Start) -> None:
    role = start([*interpreter(), "--version"])
    assert role.wait(60) == 0
    process = own_process(fork_server)
    assert process.num_threads() == 1
    assert process.environ()["PYTHONHASHSEED"] == "0"


def test_where_the_fork_server_is_killed_its_children_end_and_the_next_has_another(
    fork_server: ForkServer, start: Start, waiting: list[str]
) -> None:
    role = start(waiting)
    assert next(lines(role))
    process = own_process(fork_server)
    process.kill()
    assert role.wait(60) == -signal.SIGTERM
    again = start([*interpreter(), "--version"])
    assert isinstance(again, Forked)
    assert again.wait(60) == 0


def test_one_that_outlives_its_fork_server_is_seen_to_end_beside_the_next(
    fork_server: ForkServer, start: Start, waiting: list[str], tmp_path: Path
) -> None:
    slow, may_end = tmp_path / "slow.py", tmp_path / "may end"
    slow.write_text(SLOW.format(str(may_end)))
    late, soon = start([*interpreter(), "joiner", str(slow), "--home", str(tmp_path / "home")]), start(waiting)
    assert [next(lines(each)) for each in (late, soon)]
    process = own_process(fork_server)
    process.kill()
    assert soon.wait(60) == -signal.SIGTERM
    assert start([*interpreter(), "--version"]).wait(60) == 0
    assert late.poll() is None
    may_end.touch()
    assert late.wait(60) == -signal.SIGTERM


def test_one_that_is_gone_unnoticed_is_replaced(fork_server: ForkServer, start: Start) -> None:
    assert start([*interpreter(), "--version"]).wait(60) == 0
    gone = own_process(fork_server)
    gone.kill()
    gone.wait(60)
    after = start([*interpreter(), "--version"])
    assert isinstance(after, Forked)
    assert after.wait(60) == 0


def test_what_is_no_text_reaches_it_as_it_is(start: Start, waiting: list[str]) -> None:
    assert next(lines(start(waiting, {**os.environ, "GIVEN": "\udcff"}))).endswith(ascii("\udcff"))


def test_it_and_its_children_end_with_who_asked_however_that_ends(waiting: list[str], tmp_path: Path) -> None:
    script = (
        "import os, sys, time; from millstream.processes.fork_server import ForkServer\n"
        "role = ForkServer(os.environ).launch(sys.argv[1:], os.environ)\n"
        "print(role.stdout.readline().split()[0].decode(), flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, *waiting], stdout=subprocess.PIPE, text=True) as asked:
        assert asked.stdout is not None
        born = int(asked.stdout.readline())
        fork_server = psutil.Process(born).parent()
        assert fork_server is not None
        asked.kill()
        until(lambda: not fork_server.is_running() or fork_server.status() == psutil.STATUS_ZOMBIE)
        until(lambda: not psutil.pid_exists(born) or psutil.Process(born).status() == psutil.STATUS_ZOMBIE)


def test_idle_threads_of_a_blas_are_not_started() -> None:
    code = (
        "import os; from millstream.cli.main import THREADS; os.environ.update(dict.fromkeys(THREADS, '1'))\n"
        "import numpy, scipy.linalg; print(len(os.listdir('/proc/self/task')))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "1\n"


def test_a_failpoint_of_a_child_is_its_own(start: Start, tmp_path: Path) -> None:
    stream = tmp_path / "fails.py"
    stream.write_text("from runtime.failpoints import failpoint\nfailpoint('store.write.before')()\n")
    command = [*interpreter(), "joiner", str(stream), "--home", str(tmp_path / "home")]
    armed = start(command, {**os.environ, VARIABLE: "store.write.before=kill@1"})
    assert armed.wait(60) == -signal.SIGKILL
    assert list(lines(armed)) == ["failpoint store.write.before: kill at call 1"]
    assert start(command).wait(60) == 1, "it goes on, and finds no stream in the file"


def test_a_child_tells_its_events_and_one_that_is_not_asked_to_tells_none(
    fork_server: ForkServer, tmp_path: Path
) -> None:
    stream = tmp_path / "tells.py"
    stream.write_text("from millstream.processes import role_events\nrole_events.ready('ready: 1')\n")
    command = [*interpreter(), "joiner", str(stream), "--home", str(tmp_path / "home")]
    environment = {**os.environ, "MILLSTREAM_LOG_FORMAT": "text"}
    events, tell_on = os.pipe()
    quiet, asked = fork_server.launch(command, environment), fork_server.launch(command, environment, tell_on)
    os.close(tell_on)
    assert isinstance(asked, Forked)
    assert asked.stdout is not None
    with asked.stdout as output:
        first, second, *_ = follow(output.fileno(), events)
    os.close(events)
    assert [first, second] == [RoleEvent("ready", "ready: 1"), "ready: 1"]
    assert next(lines(quiet)) == "ready: 1"
    assert (asked.wait(60), quiet.wait(60)) == (1, 1)
    assert quiet.stdout is not None
    quiet.stdout.close()


def test_another_program_is_started_by_itself(start: Start) -> None:
    process = start([sys.executable, "-c", "print('mine')"])
    assert isinstance(process, subprocess.Popen)
    assert process.wait(60) == 0
