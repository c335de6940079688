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

from consumers.trainer.training_messages import (
    TrainingFailed,
    TrainingMessage,
    TrainingProgress,
    TrainingRequest,
    TrainingResult,
)
from consumers.trainer.trainings import Lost, NoWork, RunEvent, Trained

_LONGEST_LINE: Final = 64 << 20  # bytes; a result holds the table of the search and the offsets left out
_TOLD_BYTES: Final = 2_000
_read_message: Final = msgspec.json.Decoder(TrainingMessage).decode

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
        self._lock = threading.Lock()
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name=f"train-{request.model}", daemon=True)
        self._thread.start()

    def events(self) -> Sequence[RunEvent]:
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._events.get_nowait())
        return found

    def end(self) -> None:
        with self._lock:
            self._ended = True
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
            self._events.put(TrainingFailed(str(error)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must not stand still
            self._events.put(Lost(f"{type(error).__name__}: {error}"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _train(self, folder: Path) -> TrainingFailed | TrainingResult | Lost:
        """Run the process to its end; return how it has ended."""
        log = folder / "said"
        with log.open("wb") as said, self._started(said.fileno()) as process:
            assert process.stdin is not None  # noqa: S101 - it was started with pipes
            assert process.stdout is not None  # noqa: S101
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(msgspec.json.encode(self._request))
                process.stdin.close()
            last: TrainingMessage | None = None
            while line := process.stdout.readline(_LONGEST_LINE):
                try:
                    last = _read_message(line)
                except msgspec.DecodeError:
                    return Lost(f"it wrote what is no message: {line[:60]!r}")
                if isinstance(last, TrainingProgress):
                    self._events.put(last)
            code = self._reap(process)
        if code == 0 and isinstance(last, (TrainingFailed, TrainingResult)):
            return last
        return Lost(_told(code, log))

    @contextlib.contextmanager
    def _started(self, said: int) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._ended:
                raise InterruptedError("it was ended before it began")
            self._process = process = subprocess.Popen(
                [*self._child.command],
                env={**self._child.environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.returncode is None:
                _kill(process)
                self._reap(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _reap(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the end of the process, and end those that it has left behind; return its exit code."""
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:  # until it is waited for, no other process group can have this number
            _kill(process)
            return process.wait()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process that was not waited for yet, with those that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _told(code: int, log: Path) -> str:
    """Return how a process has ended, and the last lines that it has said."""
    how = f"it was killed by {signal.Signals(-code).name}" if code < 0 else f"it has ended with exit code {code}"
    with contextlib.suppress(OSError):
        said = log.read_bytes()[-_TOLD_BYTES:].decode("utf-8", "replace").strip()
        if said:
            return f"{how}; it said: {said}"
    return how
