"""Hundreds of schedules, and what went wrong in them; after each of them nothing is lost, repeated, or served wrong.

`MILLSTREAM_SEED` runs those of another seed. What a seed draws depends on the modules that are loaded: hypothesis takes
constants from them. The line for `@reproduce_failure` that it prints does not.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from simulation import machine

_LEAST = 200
_MOST = 10_000
_SPARE = 50  # hypothesis gives some up half-way
_WRONG = ("crashes", "duplicates", "reorderings", "idle spells", "rebalances", "zombies", "lost disks", "clock jumps")
_ALSO = (
    "zombies refused",
    "topics grown",
    "topics made again",
    "forgotten places",
    "examples lost",
    "examples kept twice",
    "overlapped commits",
)


def test_no_schedule_loses_or_repeats_anything(
    rounds: Callable[[int, int], int], record_property: Callable[[str, object], None], request: pytest.FixtureRequest
) -> None:
    drawn = random.SystemRandom().randrange(1 << 32) if request.config.getoption("--faults") else 1
    seed = int(os.environ.get("MILLSTREAM_SEED", drawn))
    again = f"again by: MILLSTREAM_SEED={seed} make test ARGS=tests/simulation/test_schedules.py"
    try:
        tallies = machine.run(rounds(_LEAST, _MOST) + _SPARE, seed)
    except BaseException as error:
        error.add_note(again)
        raise
    told = ", ".join(f"{tallies[what]} {what}" for what in ("schedules", "steps", *_WRONG, *_ALSO, "examples learned"))
    record_property("told", f"simulation, seed {seed}: {told}")
    print(told)
    assert tallies["schedules"] >= rounds(_LEAST, _MOST)
    assert tallies["steps"] >= machine.STEPS * tallies["schedules"]
    assert not [what for what in (*_WRONG, *_ALSO) if not tallies[what]], "did not happen once"
