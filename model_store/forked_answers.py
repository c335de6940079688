"""Answers from forks of a process, so that an input that ends the process ends only the fork.

Compiled parts of a model can end their process: by a defect, or where memory is short. Starting a process again takes
seconds with a large model, a fork milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from model_store.pipe_frames import read_frame, write_frame

ENDED: Final = "ProcessEnded"
"""Name of the exception at an input at which the process ends again and again."""
CAREFUL_SECONDS: Final = 60.0
"""How long a process that was started again answers in forks: what has ended it may come again."""


class ForkEnded(Exception):  # noqa: N818 - says what has happened, like EOFError
    """The fork ended before it had answered; the message says how."""


def answer_in_fork(answer: Callable[[], bytes]) -> bytes:
    """Return what `answer` returns in a fork of this process, which must have no other thread.

    Raises
    ------
    ForkEnded
        If the fork ended first: by a signal, or by an exit of the code that it ran.
    """
    source, sink = os.pipe()
    fork = os.fork()
    if not fork:
        try:
            os.close(source)
            with os.fdopen(sink, "wb") as pipe:
                write_frame(pipe, answer())
        finally:
            os._exit(1)  # only the frame counts
    os.close(sink)
    with os.fdopen(source, "rb") as pipe:
        try:
            frame = read_frame(pipe)
        except EOFError:
            frame = None
    _, status = os.waitpid(fork, 0)
    if frame is None:
        code = os.waitstatus_to_exitcode(status)
        raise ForkEnded(f"by signal {-code}" if code < 0 else f"with exit code {code}")
    return frame


def answer_surviving(answer: Callable[[], bytes]) -> bytes:
    """Return what `answer` returns in a fork; if it ends, in a second one, because anybody may have killed the first.

    Raises
    ------
    ForkEnded
        If the second ended, too.
    """
    try:
        return answer_in_fork(answer)
    except ForkEnded:
        return answer_in_fork(answer)
