"""Durations as people read them: ``1.5 min``, ``250 ms``, ``7 d``."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms"))


def spoken(milliseconds: float) -> str:
    """Return a duration as text, in its largest fitting unit: whole, or with three digits.

    >>> spoken(90_000), spoken(250), spoken(0.25), spoken(3_650 * 86_400_000)
    ('1.5 min', '250 ms', '0.25 ms', '3650 d')
    """
    unit, name = next((each for each in _UNITS if milliseconds >= each[0]), _UNITS[-1])
    number = milliseconds / unit
    return f"{number:.3g} {name}" if number < 100 else f"{number:.0f} {name}"
