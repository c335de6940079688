"""Number of distinct values of a profile."""

from __future__ import annotations

from schemas.profiles import Profile

HASHES = 64
_RANGE = float(1 << 63)


def distinct(profile: Profile) -> float:
    """Return the number of distinct values: exact up to 64, else estimated, with a standard error of 13 %."""
    hashes = profile.hashes
    if profile.hashes_are_all or not hashes:
        return float(len(hashes))
    return (len(hashes) - 1) / (hashes[-1] / _RANGE)
