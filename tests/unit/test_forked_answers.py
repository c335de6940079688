"""Answers from forks: what they return, and what becomes of an answer that ends its process."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from model_store.forked_answers import ForkEnded, answer_in_fork, answer_surviving

# The suite's workers have a thread of their own, which the forks here do not need.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.mark.parametrize("answer", [b"", b"an answer", bytes(3_000_000)], ids=["empty", "short", "more than a pipe"])
def test_the_answer_of_a_fork_is_returned(answer: bytes) -> None:
    assert answer_in_fork(lambda: answer) == answer


def _killed() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b"alive"


@pytest.mark.parametrize(
    ("answer", "how"),
    [(_killed, "by signal 9"), (lambda: os._exit(0), "exit code 0"), (lambda: sys.exit(4), "exit code 1")],
    ids=["signal", "exit", "SystemExit"],
)
def test_a_fork_that_ends_first_is_reported_with_how_it_ended(answer: object, how: str) -> None:
    before = {*psutil.Process().children()}
    with pytest.raises(ForkEnded, match=how):
        answer_surviving(answer)  # type: ignore[arg-type]
    assert not {*psutil.Process().children()} - before, "a fork is waited for"


def test_a_fork_that_is_killed_once_is_no_failure(tmp_path: Path) -> None:
    mark = tmp_path / "killed"

    def answer() -> bytes:
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return b"the second"

    assert answer_surviving(answer) == b"the second"
