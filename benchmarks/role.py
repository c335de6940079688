"""One of our roles as a process, as `millstream predictor` and its like start it: `python -m benchmarks.role`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.material import MODELS
from millstream import Join, Stream
from millstream.config.settings import Settings
from millstream.processes.roles import run_joiner, run_learner, run_predictor
from millstream.stream.load import LoadedStream
from runtime.kafka_client.library_names import DEFAULT

STREAM = "elec"


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


def main(role: str, model: str, home: str, bootstrap: str, prefix: str, snapshot_every: str) -> int:
    """Work until told to end."""
    client = os.environ.get("MILLSTREAM_CLIENT", DEFAULT)
    settings = Settings(Path(home), bootstrap, prefix, client=client)
    run = {"predictor": run_predictor, "joiner": run_joiner, "learner": run_learner}[role]
    return run(loaded(model, snapshot_every), settings, "0")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
