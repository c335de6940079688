"""A model in a process of its own that ends at some events, for tests of what becomes of the others."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from consumers.model.river_model import Answer
from consumers.predictor.model_process import VersionProcess, say_ready, serve
from model_store.pipe_frames import own_output, read_frame

DEADLY = 666.0
"""Value of `x` at which the process ends each time, by a signal."""
EXIT = 667.0
"""Value of `x` at which the process exits each time."""
ONCE = 13.0
"""Value of `x` at which the process ends the first time only."""


class DeadlyModel:
    """Answers with `x`, unless the process ends; `killed` is a file that exists after the first end at `ONCE`."""

    def __init__(self, killed: Path) -> None:
        self._killed = killed

    def ahead(self, several: Any) -> None:
        """Answer each event when it is asked."""

    def predict(self, features: dict[str, float]) -> Answer:
        x = features["x"]
        if x == EXIT:
            os._exit(3)
        if x == DEADLY or (x == ONCE and not self._killed.exists()):
            self._killed.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return Answer(x, None)


def deadly_process(killed: Path, say: Callable[[str], None] = print) -> VersionProcess:
    """Start a process of the model."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return VersionProcess([sys.executable, __file__], environment, str(killed).encode(), 60, say)


if __name__ == "__main__":
    source, sink = sys.stdin.buffer, own_output()
    model: Any = DeadlyModel(Path(read_frame(source).decode()))
    say_ready(sink)
    serve(model, source, sink)
