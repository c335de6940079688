"""`millstream status --watch` as a user sees it: in a terminal of 80 by 24, and without one."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

SECONDS = 40


@pytest.fixture
def environment(bootstrap: str, prefix: str, tmp_path: Path) -> dict[str, str]:
    admin.create(Cluster(bootstrap), Names("phishing", prefix), partitions=1, label_wait_ms=60_000)
    return {
        **{name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")},
        "MILLSTREAM_HOME": str(tmp_path / "home"),
        "MILLSTREAM_BOOTSTRAP": bootstrap,
        "MILLSTREAM_PREFIX": prefix,
        "TERM": "xterm-256color",
    }


def command(*more: str) -> list[str]:
    return [sys.executable, "-m", "millstream", "status", "phishing", "--watch", "--interval", "200ms", *more]


def read_until(descriptor: int, wanted: str) -> Iterator[str]:
    """Yield what a terminal is sent, up to where `wanted` was in it."""
    deadline, seen = time.monotonic() + SECONDS, ""
    decoder = codecs.getincrementaldecoder("utf-8")()  # a letter may come in two pieces
    while wanted not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([descriptor], [], [], 0.5)[0]:
            seen += (new := decoder.decode(os.read(descriptor, 65_536)))
            yield new


def test_a_terminal_of_80_by_24_has_the_whole_loop_and_ctrl_c_is_the_way_out(environment: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(command(), env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        seen = "".join(read_until(ours, "no learner is running"))
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert "\x1b[?1049h" in seen, "the other screen: what was there before comes back"
    assert "\x1b[1;31m" in seen or "\x1b[31m" in seen, "nobody runs: that is red"
    # One screen: from where the cursor goes home to where it does so again.
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.rpartition("\x1b[H")[2])
    lines = screen.replace("\r", "").split("\n")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80, lines
    for role in ("predictor", "joiner", "learner"):
        assert any(f"╭ {role} " in each for each in lines), lines
    assert "Traceback" not in seen


def test_without_a_terminal_it_is_a_line_a_look_and_ends_the_same_way(environment: dict[str, str]) -> None:
    process = subprocess.Popen(command(), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (0, "")
    for each in lines:
        assert re.search(r" \| predictor none at work, .* \| joiner none at work, .* \| learner none at work, ", each)
        assert "\x1b" not in each
