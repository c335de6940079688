"""Failpoints: what is armed happens at the calls that were named, and nothing else costs or changes anything."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import failpoints
from runtime.failpoints import PLACES, VARIABLE, InvalidFailpoints, failpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_armed_afterwards() -> Iterator[None]:
    yield
    failpoints.arm({})


def raised(text: str, place: str, calls: int) -> list[int]:
    """Return at which of so many calls an error was raised."""
    reached = failpoint(place)
    failpoints.arm({VARIABLE: text})
    at = []
    for number in range(1, calls + 1):
        try:
            reached()
        except OSError as error:
            at += [number] * (error.errno == errno.ENOSPC)
    return at


def test_an_error_is_raised_at_the_calls_that_were_named() -> None:
    place = "store.write.before"
    assert raised(f"{place}=ENOSPC", place, 3) == [1, 2, 3]
    assert raised(f"{place}=ENOSPC@2", place, 4) == [2]
    assert raised(f"{place}=ENOSPC@2-3", place, 4) == [2, 3]
    assert raised(f"{place}=ENOSPC@3-", place, 5) == [3, 4, 5]
    assert raised(f"store.fsync.after=kill; {place}=ENOSPC@2", place, 3) == [2]


def test_what_is_armed_is_what_was_said_last() -> None:
    reached = failpoint("store.write.before")
    failpoints.arm({VARIABLE: "store.write.before=EIO"})
    with pytest.raises(OSError, match="Input/output"):
        reached()
    failpoints.arm({VARIABLE: "store.fsync.after=EIO"})
    reached()
    with pytest.raises(InvalidFailpoints):
        failpoints.arm({VARIABLE: "store.write.before"})
    with pytest.raises(OSError, match="Input/output"):
        failpoint("store.fsync.after")()
    failpoints.arm({})
    failpoint("store.fsync.after")()


@pytest.mark.parametrize(
    "text", ["store.write.befor=kill", "store.write.before=boom", "store.write.before", "store.write.before=kill@x"]
)
def test_a_fault_that_would_never_happen_is_refused(text: str) -> None:
    with pytest.raises(InvalidFailpoints, match=VARIABLE):
        failpoints.arm({VARIABLE: text})


def test_kill_ends_the_process_at_once() -> None:
    script = "from runtime.failpoints import failpoint as f\nf('store.write.before')()\nprint('alive')"
    environment = {**os.environ, VARIABLE: "store.write.before=kill"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")
    assert "failpoint store.write.before: kill at call 1" in done.stderr


def test_every_place_is_built_in_once() -> None:
    asked = [
        name
        for folder in ("runtime", "schemas", "model_store", "consumers", "producers", "server", "millstream")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r'= failpoint\("([^"]+)"\)', file.read_text())
    ]
    assert sorted(asked) == sorted(PLACES)
