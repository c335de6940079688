"""A training in a process of its own, which has no signing key; the version it gives is made here.

The process gets a `TrainingRequest` on its standard input, and writes `TrainingMessage`s to its standard output. It
ends by itself when this process has ended.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from consumers.trainer.child_output import ChildOutput, one_line
from consumers.trainer.training_messages import TrainingFailed, TrainingProgress, TrainingRequest, TrainingResult
from consumers.trainer.trainings import Lost, NoWork, RunEvent, Trained
from runtime.descendants import end_adopted

_TEMPORARY: Final = "tmp"
_FOLDERS: Final = ("TMPDIR", "JOBLIB_TEMP_FOLDER")  # so that what a killed process leaves there goes with its folder
_starting: Final = threading.Lock()
_running: Final = set[int]()  # ids of the processes that train

Finish = Callable[[TrainingResult], Trained]
"""Makes the version of a result. Raises NoWork if it cannot be one, OSError if another attempt may succeed."""


@dataclass(frozen=True)
class ChildCommand:
    """How a training is started.

    Attributes
    ----------
    command, environment
        Of the process.
    """

    command: Sequence[str]
    environment: Mapping[str, str]


class ChildRun:
    """A `Run` in a child process. A thread reads what it says, and makes the version when it has a result.

    Parameters
    ----------
    finish
        Called in the thread.
    """

    def __init__(self, child: ChildCommand, request: TrainingRequest, finish: Finish) -> None:
        self._child = child
        self._request = request
        self._finish = finish
        self._events: queue.SimpleQueue[RunEvent] = queue.SimpleQueue()
        self._progress: TrainingProgress | None = None  # the newest one that was not told
        self._lock = threading.Lock()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name=f"train-{request.model}", daemon=True)
        self._thread.start()

    def events(self) -> Sequence[RunEvent]:
        found: list[RunEvent] = []
        progress, self._progress = self._progress, None
        if progress is not None:
            found.append(progress)
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._events.get_nowait())
        return found

    def end(self) -> None:
        with self._lock:
            self._ended = True
        self._kill_running()

    def _kill_running(self) -> None:
        with self._lock:
            if self._process is not None and self._process.returncode is None:
                _kill(self._process)

    # --- in the thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        folder = Path(self._request.folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            last = self._train(folder)
            self._events.put(self._finish(last) if isinstance(last, TrainingResult) else last)
        except NoWork as error:
            self._events.put(TrainingFailed(one_line(str(error))))
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not stand still
            self._events.put(Lost(one_line(f"{type(error).__name__}: {error}")))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _train(self, folder: Path) -> TrainingFailed | TrainingResult | Lost:
        """Run the process to its end; return how it has ended."""
        with self._started(folder) as process:
            assert process.stdin is not None  # noqa: S101 - it was started with pipes
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(msgspec.json.encode(self._request))
                process.stdin.close()
            output = ChildOutput(process, lambda: self._reap(process), self._kill_running, self._take_progress)
            last = output.read()
            code = process.returncode
        if output.wrong is not None:
            return Lost(output.wrong)
        if code == 0 and isinstance(last, (TrainingFailed, TrainingResult)):
            return last
        return Lost(_told(code, output.tail), output.tail)

    def _take_progress(self, progress: TrainingProgress) -> None:
        self._progress = progress

    @contextlib.contextmanager
    def _started(self, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
        temporary = folder / _TEMPORARY
        temporary.mkdir(exist_ok=True)
        with self._lock, _starting:
            if self._ended:
                raise InterruptedError("it was ended before it began")
            self._process = process = subprocess.Popen(
                [*self._child.command],
                env={**self._child.environment, **dict.fromkeys(_FOLDERS, str(temporary))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            _running.add(process.pid)
        try:
            yield process
        finally:
            self._kill_running()
            self._reap(process)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of the process, and end those that it has left behind."""
        if process.returncode is not None:
            return
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:  # until it is waited for, no other process group can have this number
            _kill(process)
            process.wait()
        with _starting:
            _running.discard(process.pid)
            end_adopted(_running)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that was not waited for yet, with those that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _told(code: int, said: str) -> str:
    """Return how a process has ended, and the last line that it has said: of an exception that is the message."""
    how = f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it has ended with exit code {code}"
    lines = said.split("\n")
    return f"{how}; it said: {one_line(lines[-1])}" if lines[-1] else how
