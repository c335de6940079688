"""What the fault tests share: a stream of real processes, and a seed that is printed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.rig import Rig

from millstream.processes.fork_server import ForkServer


@pytest.fixture(scope="module", autouse=True)
def _client(client: str) -> str:
    return client


@pytest.fixture
def rate(request: pytest.FixtureRequest) -> float:
    """Return the events a second: with a transaction for nearly each, 60 keep two processors busy by themselves."""
    return 60 if request.config.getoption("--faults") else 10


@pytest.fixture
def rig(
    bootstrap: str, prefix: str, tmp_path: Path, fork_server: ForkServer, rounds: Callable[[int, int], int], rate: float
) -> Iterator[Rig]:
    """Lend the rig; its processes are gone when the test is over."""
    with Rig(bootstrap, prefix, tmp_path, fork_server, most_events=rounds(60_000, 300_000), rate=rate) as rig:
        yield rig


@pytest.fixture
def rng() -> random.Random:
    """Return a source of moments and victims; `MILLSTREAM_SEED` has a run again."""
    seed = int(os.environ.get("MILLSTREAM_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"MILLSTREAM_SEED={seed}")
    return random.Random(seed)
