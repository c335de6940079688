"""What the fault tests share: a stream of real processes, and a seed that is printed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.rig import Rig


@pytest.fixture
def rig(bootstrap: str, prefix: str, tmp_path: Path, rounds: Callable[[int, int], int]) -> Iterator[Rig]:
    """Lend the rig; its processes are gone when the test is over."""
    # With a transaction for nearly every event, 60 of them a second keep two processors busy beside other tests.
    with Rig(bootstrap, prefix, tmp_path, most_events=rounds(60_000, 300_000), rate=rounds(20, 60)) as rig:
        yield rig


@pytest.fixture
def rng() -> random.Random:
    """Return a source of moments and victims; `MILLSTREAM_SEED` has a run again."""
    seed = int(os.environ.get("MILLSTREAM_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"MILLSTREAM_SEED={seed}")
    return random.Random(seed)
