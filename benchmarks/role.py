"""One of our roles as a process, as `millstream predictor` and its like start it: `python -m benchmarks.role`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from benchmarks.material import MODELS
from benchmarks.steps import TimedSettings, write
from consumers.predictor import prediction_records, predictor
from millstream import Join, Stream
from millstream.config.settings import Settings
from millstream.monitoring.monitor_role import run_monitor
from millstream.processes.roles import run_joiner, run_learner, run_predictor
from millstream.stream.load import LoadedStream
from runtime.kafka_client.library_names import DEFAULT
from runtime.kafka_client.partitioner import hashed_in_python

STREAM = "elec"
_ROLES: Final[dict[str, Callable[[LoadedStream, Settings, str], int]]] = {
    "predictor": run_predictor,
    "general-predictor": run_predictor,
    "joiner": run_joiner,
    "learner": run_learner,
    "monitor": run_monitor,
}


def loaded(model: str, snapshot_every: str = "1d") -> LoadedStream:
    """Return the benchmark's stream as a stream file that was imported."""
    stream = Stream(
        name=STREAM, task="binary", model=MODELS[model], label="class", join=Join(snapshot_every=snapshot_every)
    )
    return LoadedStream(
        stream=stream,
        path=Path("benchmarks"),
        module="",
        definition=f"benchmark-{model}",
        definition_text="",
        allowed=frozenset(),
    )


def _general() -> None:
    """Have the predictor read each event by the general path, and hash its key in Python."""
    vars(predictor)["KnownShapes"] = lambda questions, contract: questions
    vars(prediction_records)["hashed"] = hashed_in_python


def main(
    role: str, model: str, home: str, bootstrap: str, prefix: str, snapshot_every: str, turns_file: str = ""
) -> int:
    """Work until told to end. With a file, write when each turn passed each step."""
    client = os.environ.get("MILLSTREAM_CLIENT", DEFAULT)
    if role == "general-predictor":
        _general()
    run = _ROLES[role]
    stream = loaded(model, snapshot_every)
    if not turns_file:
        return run(stream, Settings(Path(home), bootstrap, prefix, client=client), "0")
    settings = TimedSettings(Path(home), bootstrap, prefix, client=client)
    code = run(stream, settings, "0")
    write(settings.turns, Path(turns_file))
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
