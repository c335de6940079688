"""Priority of a training: the lowest, unless the environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runtime.niceness import NICENESS, training_niceness

QUIET = """
import os
os.setsid()
from millstream.training import child
child._be_quiet()
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


@pytest.mark.parametrize(("given", "niceness"), [(None, 19), ("7", 7), ("0", 0)])
def test_a_training_has_the_niceness_that_was_asked_for_at_least(given: str | None, niceness: int) -> None:
    environ = {name: value for name, value in os.environ.items() if name != NICENESS}
    if given is not None:
        environ[NICENESS] = given
    done = subprocess.run([sys.executable, "-c", QUIET], env=environ, capture_output=True, text=True, check=True)
    assert int(done.stdout) == max(niceness, os.getpriority(os.PRIO_PROCESS, 0))


@pytest.mark.parametrize("wrong", ["20", "-1", "low", "1.5", "\u0663"])
def test_a_niceness_that_is_none_is_refused_by_name(wrong: str) -> None:
    with pytest.raises(ValueError, match=rf"{NICENESS} is .*: give a whole number from 0 to 19"):
        training_niceness({NICENESS: wrong})
