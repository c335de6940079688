"""Frames on the pipes of a process: the length in 4 bytes, big-endian, followed by that many bytes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from struct import Struct
from typing import IO, Final

_LENGTH: Final = Struct(">I")


def write_frame(sink: IO[bytes], frame: bytes) -> None:
    """Write one frame and flush it."""
    sink.write(_LENGTH.pack(len(frame)) + frame)
    sink.flush()


def read_frame(source: IO[bytes]) -> bytes:
    """Read one frame. Raises EOFError if it is missing or incomplete."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError("the other side is gone")
    (length,) = _LENGTH.unpack(head)
    frame = source.read(length)
    if len(frame) < length:
        raise EOFError("the other side is gone in the midst of a frame")
    return frame


def own_output() -> IO[bytes]:
    """Return this process's standard output, and redirect everything else that it prints to standard error."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


_END_SECONDS: Final = 5.0


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group, and with it all of the group."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group, with all of the group, and close its pipes; the caller waits for it."""
    kill_group(process)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def ended(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code of a process whose pipe has ended; one that goes on without its pipe is killed."""
    try:
        return process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        kill_group(process)
        return process.wait()
