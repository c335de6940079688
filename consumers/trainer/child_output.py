"""Output of a process that trains: its messages, and the end of what else it says.

The process runs a person's code, and so may say anything: too much, too long, nothing, or what is wrong. What it has
started may hold its pipes open when it has ended. So the end of the process counts, not that of a pipe, and everything
is bounded.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import threading
from collections.abc import Callable
from typing import Final

import msgspec

from consumers.trainer.training_messages import TrainingFailed, TrainingMessage, TrainingProgress

_LONGEST_LINE: Final = 64 << 20  # bytes; a result holds the table of the search and the offsets left out
_TAIL_BYTES: Final = 2_000
_CHUNK: Final = 1 << 16
_LONGEST_TEXT: Final = 1_000  # characters of what a person is told
_LARGEST: Final = 1 << 53
_read_message: Final = msgspec.json.Decoder(TrainingMessage).decode


class ChildOutput:
    """Reads a process's standard output and standard error until it has ended.

    Parameters
    ----------
    reap
        Waits for the end of the process and of what it has started. Called in a thread.
    kill
        Ends the process if it has not ended.
    progress
        Takes each progress message.

    Attributes
    ----------
    wrong
        Why its messages are not believed, `None` if they are. The process is killed then.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        reap: Callable[[], None],
        kill: Callable[[], None],
        progress: Callable[[TrainingProgress], None],
    ) -> None:
        self._process = process
        self._reap = reap
        self._kill = kill
        self._progress = progress
        self._line = bytearray()
        self._tail = b""
        self._last: TrainingMessage | None = None
        self.wrong: str | None = None

    @property
    def tail(self) -> str:
        """The last lines of standard error."""
        return self._tail.decode("utf-8", "replace").strip()

    def read(self) -> TrainingMessage | None:
        """Return the last message of the process; it has ended then, and what it has started too."""
        out, errors = self._process.stdout, self._process.stderr
        assert out is not None  # noqa: S101 - it was started with pipes
        assert errors is not None  # noqa: S101
        ended, end = os.pipe()
        waiting = threading.Thread(target=self._await_end, args=(end,), name="end-of-training", daemon=True)
        waiting.start()
        try:
            with selectors.DefaultSelector() as selector:
                for pipe, take in ((out.fileno(), self._take), (errors.fileno(), self._keep)):
                    os.set_blocking(pipe, False)
                    selector.register(pipe, selectors.EVENT_READ, take)
                selector.register(ended, selectors.EVENT_READ)
                self._follow(selector, ended)
        except BaseException:
            self._kill()
            raise
        finally:
            waiting.join()
            os.close(ended)
        return self._last

    def _follow(self, selector: selectors.BaseSelector, ended: int) -> None:
        """Read until the process has ended; what was in the pipes by then is read, too."""
        over = False
        while not over:
            ready = selector.select()
            over = any(key.fd == ended for key, _ in ready)
            keys = [*selector.get_map().values()] if over else [key for key, _ in ready]
            for key in keys:
                if key.fd != ended:
                    self._drain(selector, key, _LONGEST_LINE if over else _CHUNK)

    def _drain(self, selector: selectors.BaseSelector, key: selectors.SelectorKey, most: int) -> None:
        while most > 0:
            try:
                chunk = os.read(key.fd, _CHUNK)
            except BlockingIOError:
                return
            if not chunk:
                selector.unregister(key.fd)
                return
            most -= len(chunk)
            key.data(chunk)

    def _await_end(self, end: int) -> None:
        try:
            self._reap()
        finally:
            os.close(end)  # the other side becomes readable

    def _keep(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-_TAIL_BYTES:]

    def _take(self, chunk: bytes) -> None:
        if self.wrong is not None:
            return
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            self._line += part
            self._read(bytes(self._line))
            self._line.clear()
        self._line += rest
        if len(self._line) > _LONGEST_LINE:
            self._disbelieve(f"it wrote a line of more than {_LONGEST_LINE} bytes")

    def _read(self, line: bytes) -> None:
        if self.wrong is not None:
            return
        try:
            message = _believable(_read_message(line))
        except (msgspec.DecodeError, RecursionError, ValueError):
            self._disbelieve(f"it wrote what is no message: {line[:60]!r}")
            return
        self._last = message
        if isinstance(message, TrainingProgress):
            self._progress(message)

    def _disbelieve(self, why: str) -> None:
        self.wrong = why
        self._line.clear()
        self._kill()


def _believable(message: TrainingMessage) -> TrainingMessage:
    """Return a message with texts that fit into a line. Raises ValueError if its numbers cannot be true."""
    if isinstance(message, TrainingFailed):
        return TrainingFailed(one_line(message.why))
    if isinstance(message, TrainingProgress):
        numbers, message = [message.done, message.of], msgspec.structs.replace(message, text=one_line(message.text))
    else:
        numbers = [message.examples]
    if not all(0 <= number < _LARGEST for number in numbers):
        raise ValueError("it is no number of rows")
    return message


def one_line(text: str) -> str:
    """Return a text as a line that a terminal shows: of a long one its beginning and its end.

    >>> one_line(chr(10).join(["all fits failed:", "  ValueError: no"]))
    'all fits failed: ValueError: no'
    """
    if len(text) > 2 * _LONGEST_TEXT:
        text = f"{text[:_LONGEST_TEXT]} … {text[-_LONGEST_TEXT:]}"
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
