"""The supervisor: what it decides when a role ends, and that its children are started, restarted and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from millstream.processes.supervisor import ENDS_IN_A_ROW, Child, GiveUp, Restart, RoleFailed, Supervisor, decide, ended


def test_a_restart_is_put_off_longer_each_time_up_to_a_limit() -> None:
    waits = [0.0]
    for _ in range(8):
        step = decide(75, ran=1.0, last_wait=waits[-1])
        assert isinstance(step, Restart)
        waits.append(step.after)
    assert waits[1:] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_after_it_ran_well_the_next_restart_is_quick_again() -> None:
    assert decide(75, ran=60.0, last_wait=10.0) == Restart(0.2)


@pytest.mark.parametrize("code", [1, 2])
def test_what_starting_again_cannot_mend_is_given_up(code: int) -> None:
    assert decide(code, ran=60.0, last_wait=0.0) == GiveUp()


@pytest.mark.parametrize("code", [75, 0, -signal.SIGKILL, -signal.SIGSEGV, 3])
def test_what_dies_is_started_again(code: int) -> None:
    assert isinstance(decide(code, ran=0.1, last_wait=0.0), Restart)


def test_how_a_process_ended_is_said_by_the_signals_name() -> None:
    assert ended(-9) == "was ended by SIGKILL"
    assert ended(75) == "ended with 75"


def _python(role: str, script: str, instance: str = "0") -> Child:
    return Child(role, instance, (sys.executable, "-c", script))


def _until(condition: Callable[[], bool], supervisor: Supervisor, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        supervisor.look()
        time.sleep(0.01)


_WORK = (
    "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(print('bye') or 0)); print('up'); time.sleep(60)"
)


def test_a_killed_child_is_started_again_and_said_so() -> None:
    said: list[str] = []
    supervisor = Supervisor([_python("joiner", _WORK)], os.environ, said.append)
    supervisor.start()
    try:
        _until(lambda: "joiner-0 | up" in said, supervisor)
        first = supervisor.pids()["joiner-0"]
        os.kill(first, signal.SIGKILL)
        _until(lambda: said.count("joiner-0 | up") == 2, supervisor)
        assert supervisor.pids()["joiner-0"] != first
        assert "joiner-0 was ended by SIGKILL; starting it again in 0.2 s" in said
    finally:
        supervisor.stop()


def test_a_role_that_cannot_work_ends_the_run_with_its_own_message() -> None:
    script = "import sys; print('millstream: error: no such model'); sys.exit(1)"
    supervisor = Supervisor([_python("learner", script)], os.environ, lambda _: None)
    supervisor.start()
    with pytest.raises(RoleFailed, match="learner-0 ended with 1: no such model"):
        _until(lambda: False, supervisor)


def test_the_end_is_in_order_predictors_joiner_learner() -> None:
    said: list[str] = []
    children = [_python("learner", _WORK), _python("joiner", _WORK), _python("predictor", _WORK)]
    supervisor = Supervisor(children, os.environ, said.append)
    supervisor.start()
    _until(lambda: sum(line.endswith("| up") for line in said) == 3, supervisor)
    supervisor.stop()
    assert [line.split()[0] for line in said if line.endswith("| bye")] == ["predictor-0", "joiner-0", "learner-0"]
    assert supervisor.pids() == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent died")
def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = (
        "import os, pathlib, time; from millstream.processes.supervisor import die_with_parent; die_with_parent();"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    parent = (
        "import os, sys, time; from millstream.processes.supervisor import Child, Supervisor\n"
        f"Supervisor([Child('joiner', '0', (sys.executable, '-c', {child!r}))], os.environ).start(); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        _wait(lambda: pid_file.exists() and pid_file.read_text() != "")
        process.kill()
    _wait(lambda: not _lives(int(pid_file.read_text())))


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_children_that_speak_json_are_understood_and_passed_on_as_they_are() -> None:
    lines = [
        '{"message": "ready: 1 partitions", "event": "assigned"}',
        '{"message": "learner: it cannot go on", "event": "failed"}',
        '{"message": "learner ends with 1", "event": "ended"}',
    ]
    passed: list[tuple[str, str]] = []

    def relay(name: str, line: str) -> None:
        passed.append((name, line))

    script = f"import sys; [print(line, flush=True) for line in {lines!r}]; sys.exit(1)"
    supervisor = Supervisor([_python("learner", script)], os.environ, relay=relay, needs_all=True)
    supervisor.start()
    with pytest.raises(RoleFailed) as failed:
        _until(lambda: False, supervisor)
    assert str(failed.value) == "learner-0 ended with 1: it cannot go on"
    assert passed == [("learner-0", line) for line in lines]


_TELLS = "from millstream.processes import role_events; role_events.begin()"


def test_ready_is_what_a_role_tells_and_not_what_is_printed() -> None:
    prints = "print('ready: 1 partitions of s.features', flush=True)"
    prints += """; print('{"message": "ready: 1 partitions", "event": "assigned"}', flush=True)"""
    said: list[str] = []
    model = _python("predictor", f"import time; {prints}; time.sleep(60)")
    role = _python("joiner", f"import time; {_TELLS}; role_events.ready('ready: 2 partitions'); time.sleep(60)")
    printing = Supervisor([model], os.environ, said.append)
    telling = Supervisor([role], os.environ, said.append)
    printing.start()
    telling.start()
    try:
        _until(lambda: any("assigned" in line for line in said), printing)
        _until(telling.ready, telling)
        _until(lambda: "joiner-0 | ready: 2 partitions" in said, telling)
        assert "predictor-0 | ready: 1 partitions of s.features" in said, "it is passed on all the same"
        assert not printing.ready()
    finally:
        printing.stop()
        telling.stop()


def test_a_role_is_ready_anew_each_time_that_it_is_started(tmp_path: Path) -> None:
    script = _times(
        tmp_path / "n", f"{_TELLS}; role_events.ready('ready: 1'); time.sleep(60)", "print('up'); time.sleep(60)"
    )
    said: list[str] = []
    supervisor = Supervisor([_python("joiner", script)], os.environ, said.append)
    supervisor.start()
    try:
        _until(supervisor.ready, supervisor)
        os.kill(supervisor.pids()["joiner-0"], signal.SIGKILL)
        _until(lambda: "joiner-0 | up" in said, supervisor)
        assert not supervisor.ready()
    finally:
        supervisor.stop()


def test_descriptors_are_not_left_behind_by_children_that_end() -> None:
    supervisor = Supervisor([_python("joiner", "import sys; sys.exit(75)")], os.environ, lambda _: None)
    before = _open_files()
    supervisor.start()
    _until(lambda: supervisor.restarts >= 3, supervisor)
    supervisor.stop()
    _wait(lambda: _open_files() == before)


def _open_files() -> int:
    return psutil.Process().num_fds()


def _times(count_file: Path, first: str, then: str) -> str:
    """Return a script that does `first` when it is run the first time, and `then` from the second on."""
    return (
        f"import pathlib, sys, time; f = pathlib.Path({str(count_file)!r}); again = f.exists(); f.touch()\n"
        f"if again:\n    {then}\n{first}"
    )


def test_a_role_that_gives_up_after_it_worked_does_not_end_the_others_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millstream.processes.supervisor.GIVEN_UP_S", 0.2)
    said: list[str] = []
    told: list[tuple[str, int, str]] = []
    script = _times(
        tmp_path / "n",
        f"{_TELLS}; role_events.ready('ready: 1'); role_events.failed('joiner', 'no'); sys.exit(1)",
        f"{_TELLS}; role_events.ready('ready: 1'); time.sleep(60)",
    )
    children = [_python("predictor", _WORK), _python("joiner", script)]
    supervisor = Supervisor(
        children, os.environ, said.append, keeps_ending=lambda child, times, why: told.append((child.name, times, why))
    )
    supervisor.start()
    try:
        _until(lambda: bool(supervisor.given_up()), supervisor)
        assert supervisor.given_up() == "joiner-0 ended with 1: no"
        assert "predictor-0" in supervisor.pids()
        assert told == [("joiner-0", 1, "no")]
        _until(lambda: not supervisor.given_up(), supervisor)
        assert "joiner-0" in supervisor.pids()
    finally:
        supervisor.stop()


def test_a_role_that_keeps_ending_for_one_reason_is_made_known_and_another_reason_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millstream.processes.supervisor.FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("millstream.processes.supervisor.LONGEST_WAIT_S", 0.01)
    told: list[tuple[int, str]] = []
    script = _times(
        tmp_path / "n",
        "print('joiner: other'); sys.exit(75)",
        "print('joiner: after', time.time_ns(), 's'); sys.exit(75)",
    )
    supervisor = Supervisor(
        [_python("joiner", script)],
        os.environ,
        lambda _: None,
        keeps_ending=lambda child, times, why: told.append((times, why)),
    )
    supervisor.start()
    try:
        _until(lambda: len(told) == 2, supervisor)
        assert [times for times, _ in told] == [ENDS_IN_A_ROW + 1, ENDS_IN_A_ROW + 2]
        assert supervisor.restarts == ENDS_IN_A_ROW + 3
        assert told[0][1].startswith("after ")
    finally:
        supervisor.stop()


def test_what_ends_while_kafka_is_away_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.processes.supervisor.LONGEST_WAIT_S", 0.01)
    told: list[int] = []
    supervisor = Supervisor(
        [_python("joiner", "import sys; sys.exit(75)")],
        os.environ,
        lambda _: None,
        away=lambda: True,
        keeps_ending=lambda child, times, why: told.append(times),
    )
    supervisor.start()
    try:
        _until(lambda: supervisor.restarts > ENDS_IN_A_ROW + 1, supervisor)
        assert told == []
    finally:
        supervisor.stop()
