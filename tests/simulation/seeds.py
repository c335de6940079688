"""How many schedules of chance a test draws: some in `make test`, the rest in `make faults`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def seeds(few: int, many: int) -> Sequence[Any]:
    return [*range(few), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(few, many))]
