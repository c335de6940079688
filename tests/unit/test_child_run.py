"""A training in a child process: what becomes of its messages, its end, and what it has started."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil
import pytest

from consumers.trainer.child_run import ChildCommand, ChildRun, Finish
from consumers.trainer.training_messages import TrainingFailed, TrainingProgress, TrainingRequest, TrainingResult
from consumers.trainer.trainings import Lost, NoWork, RunEvent, Trained
from schemas.model_updates import Published

RESULT = TrainingResult(examples=5, chain="c", parameters={}, seed=1, threads=1, cpu="x")
TRAINED = Trained("gbdt:1/5", Published("s.gbdt", 0, 1, 5, "t", 9, "0" * 64, 1, 2, {}), None)
SAYS = "import sys, json; request = json.loads(sys.stdin.read()); say = lambda text: print(text, flush=True); "


def run(folder: Path, code: str, finish: Finish = lambda result: TRAINED) -> ChildRun:
    request = TrainingRequest(
        stream="s.py", model="gbdt", job="j", attempt=1, topic_id="t", begin=0, end=9, folder=str(folder / "files")
    )
    command = (sys.executable, "-c", SAYS + code)
    return ChildRun(ChildCommand(command, {"PATH": os.environ["PATH"]}), request, finish)


def until_ended(child: ChildRun) -> list[RunEvent]:
    found: list[RunEvent] = []
    wait(lambda: found.extend(child.events()) or (bool(found) and not isinstance(found[-1], TrainingProgress)))
    return found


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def line(message: object) -> str:
    return repr(msgspec.json.encode(message).decode())


def test_messages_come_in_order_and_the_result_becomes_a_version(tmp_path: Path) -> None:
    asked: list[TrainingResult] = []

    def finish(result: TrainingResult) -> Trained:
        assert (tmp_path / "files").is_dir()
        asked.append(result)
        return TRAINED

    progress = TrainingProgress(1, 2, "gbdt of j")
    code = (
        "say(json.dumps({'type': 'progress', 'done': 1, 'of': 2, 'text': request['model'] + ' of ' + request['job']}));"
        f"say({line(RESULT)})"
    )
    assert until_ended(run(tmp_path, code, finish)) == [progress, TRAINED]
    assert asked == [RESULT]
    wait(lambda: not (tmp_path / "files").exists())


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (f"say({line(TrainingFailed('no data'))})", TrainingFailed("no data")),
        (f"say({line(TrainingFailed('no data'))}); sys.exit(75)", Lost("it has ended with exit code 75")),
        ("sys.exit(0)", Lost("it has ended with exit code 0")),
        ("print('a', file=sys.stderr); sys.exit(3)", Lost("it has ended with exit code 3; it said: a")),
        ("import os; os.kill(os.getpid(), 9)", Lost("it was killed by SIGKILL")),
        ("say('hello'); import time; time.sleep(60)", Lost("it wrote what is no message: b'hello'")),
        (f"say({line(TrainingProgress(1, 2, 'x'))}); sys.exit(1)", Lost("it has ended with exit code 1")),
    ],
)
def test_an_end_without_a_result_is_told(tmp_path: Path, code: str, expected: RunEvent) -> None:
    assert until_ended(run(tmp_path, code))[-1] == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NoWork("another version has its name"), TrainingFailed("another version has its name")),
        (OSError("the disk is full"), Lost("OSError: the disk is full")),
        (ValueError("a defect"), Lost("ValueError: a defect")),
    ],
)
def test_a_result_that_cannot_be_a_version_has_failed_or_is_tried_again(
    tmp_path: Path, error: Exception, expected: RunEvent
) -> None:
    def finish(result: TrainingResult) -> Trained:
        raise error

    assert until_ended(run(tmp_path, f"say({line(RESULT)})", finish)) == [expected]


def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    request = TrainingRequest(
        stream="s", model="gbdt", job="j", attempt=1, topic_id="t", begin=0, end=9, folder=str(tmp_path / "files")
    )
    child = ChildRun(ChildCommand(("/no/such/program",), {}), request, lambda result: TRAINED)
    [event] = until_ended(child)
    assert isinstance(event, Lost)
    assert "FileNotFoundError" in event.why


def test_the_end_takes_what_it_has_started_with_it(tmp_path: Path) -> None:
    code = (
        "import subprocess, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(p.pid, file=open(request['folder'] + '/../pid', 'w'), flush=True); time.sleep(60)"
    )
    child = run(tmp_path, code)
    wait(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("\n"))
    grandchild = psutil.Process(int((tmp_path / "pid").read_text()))
    child.end()
    child.end()
    wait(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)
    wait(lambda: not any(each.name == "train-gbdt" for each in threading.enumerate()))
    assert not (tmp_path / "files").exists()


def test_one_that_was_ended_before_it_began_is_not_started(tmp_path: Path) -> None:
    child = run(tmp_path, "open(request['folder'] + '/../begun', 'w')")
    child.end()
    wait(lambda: not any(each.name == "train-gbdt" for each in threading.enumerate()))
    assert child.events() != ()
