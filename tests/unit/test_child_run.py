"""A training in a child process: what becomes of its messages, its end, and what it has started."""

from __future__ import annotations

import os
import subprocess
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


DEEP = '\'{"type": "result", "comparison": \' + \'{"a": \' * 200_000'


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (DEEP, "it wrote what is no message"),
        ('\'{"type": "progress", "done": NaN, "of": 2, "text": "x"}\'', "it wrote what is no message"),
        ('\'{"type": "progress", "done": -1, "of": 2, "text": "x"}\'', "it wrote what is no message"),
        ('\'{"type": "progress", "done": 1, "of": 1\' + "0" * 30 + \', "text": "x"}\'', "it wrote what is no message"),
        (line(msgspec.structs.replace(RESULT, examples=-5)), "it wrote what is no message"),
        (line(msgspec.structs.replace(RESULT, examples=1 << 60)), "it wrote what is no message"),
        ("'x' * (70 << 20)", "it wrote a line of more than 67108864 bytes"),
    ],
    ids=["deep", "NaN", "negative", "huge", "negative result", "huge result", "long"],
)
def test_a_message_that_cannot_be_true_is_not_believed(tmp_path: Path, said: str, why: str) -> None:
    code = f"sys.stdout.write({said}); sys.stdout.flush(); say(''); import time; time.sleep(60)"
    [event] = until_ended(run(tmp_path, code))
    assert isinstance(event, Lost)
    assert event.why.startswith(why)


def test_texts_become_a_line_of_a_thousand_letters_at_its_beginning_and_its_end(tmp_path: Path) -> None:
    code = (
        "say(json.dumps({'type': 'progress', 'done': 1, 'of': 2, 'text': 'a' * 500_000 + '\\x1b[31m\\nred'}));"
        "say(json.dumps({'type': 'failed', 'why': 'b' * 500_000 + '\\nend'}))"
    )
    *_, told, last = until_ended(run(tmp_path, code))
    assert isinstance(told, TrainingProgress)
    assert isinstance(last, TrainingFailed)
    for text, end in ((told.text, "[31m red"), (last.why, "b end")):
        assert text.isprintable()
        assert len(text) < 2_100
        assert text.endswith(end)


def test_however_much_it_says_little_is_kept_and_nothing_is_written_to_the_disk(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "for _ in range(200): os.write(2, b'y' * (1 << 20) + b'\\n')\n"
        f"for _ in range(20_000): os.write(1, {line(TrainingProgress(1, 2, 'x'))}.encode() + b'\\n')\n"
        "print(sum(len(files) for _, _, files in os.walk(request['folder'])), file=sys.stderr); sys.exit(3)"
    )
    child = run(tmp_path, f"\n{code}")
    wait(lambda: not child._thread.is_alive())
    told, last = child.events()
    assert told == TrainingProgress(1, 2, "x")
    assert isinstance(last, Lost)
    assert last.why == "it has ended with exit code 3; it said: 0"
    assert len(last.said) <= 2_000


def test_a_copy_of_it_that_holds_its_pipes_is_not_waited_for(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "pid = os.fork()\n"
        "if not pid: time.sleep(60); os._exit(0)\n"
        f"open(request['folder'] + '/../pid', 'w').write(str(pid)); say({line(RESULT)})"
    )
    assert until_ended(run(tmp_path, f"\n{code}")) == [TRAINED]
    pid = int((tmp_path / "pid").read_text())
    wait(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_what_has_gone_into_a_session_of_its_own_is_ended_by_a_process_that_adopts_orphans(tmp_path: Path) -> None:
    """In a process of its own: it adopts for as long as it runs."""
    code = (
        "import test_child_run as it, pathlib, sys; from runtime.descendants import adopt_orphans; adopt_orphans();"
        "it.leave_an_orphan(pathlib.Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run_it = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(run_it, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pid = int((tmp_path / "pid").read_text())
    assert not psutil.pid_exists(pid)


def leave_an_orphan(folder: Path) -> None:
    code = (
        "import os, time\n"
        "if not os.fork():\n"
        "    os.setsid()\n"
        "    pid = os.fork()\n"
        "    if pid: open(request['folder'] + '/../pid', 'w').write(str(pid)); os._exit(0)\n"
        "    time.sleep(600)\n"
        f"os.wait(); say({line(RESULT)})"
    )
    beside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert until_ended(run(folder, f"\n{code}")) == [TRAINED]
    assert beside.poll() is None, "what this process has started itself goes on"
    beside.kill()
    beside.wait()
