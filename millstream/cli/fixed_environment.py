"""Commands that train: in a process with the hash seed and the threads of every training."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from millstream.config.settings import interpreter
from millstream.training.priority import FIXED

if TYPE_CHECKING:
    from millstream.config.settings import Settings


def is_fixed() -> bool:
    """Return whether this process has the environment of a training."""
    return all(os.environ.get(name) == value for name, value in FIXED.items())


def again_fixed(words: Sequence[str], settings: Settings) -> int:
    """Run a command in a process that has it, with the same settings; print what it says, and return its exit code.

    The order of a set of texts, for example, is another one with each hash seed.
    """
    environment = {**os.environ, **settings.environment(), **FIXED}
    done = subprocess.run([*interpreter(), *words], env=environment, stdout=subprocess.PIPE, text=True, check=False)
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    return done.returncode
