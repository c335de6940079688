"""Niceness of trainings, which lets everything else go first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NICENESS: Final = "MILLSTREAM_TRAINING_NICENESS"
"""Environment variable with the niceness of trainings, from 0 (the priority of all else) to 19, the default."""
_LOWEST: Final = 19


def training_niceness(environ: Mapping[str, str]) -> int:
    """Return the niceness of a training. Raises ValueError if the environment's is none.

    >>> training_niceness({}), training_niceness({"MILLSTREAM_TRAINING_NICENESS": "5"})
    (19, 5)
    """
    text = environ.get(NICENESS) or str(_LOWEST)
    if not (text.isascii() and text.isdigit() and int(text) <= _LOWEST):
        raise ValueError(f"{NICENESS} is {text!r:.40}: give a whole number from 0 to {_LOWEST}")
    return int(text)
