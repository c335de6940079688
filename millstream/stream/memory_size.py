"""Sizes of memory as a stream file writes them, such as ``"4GiB"``."""

from __future__ import annotations

import re
from typing import Final

from millstream.stream.errors import InvalidStream

_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\s*", re.IGNORECASE)


def bytes_of(size: str | int) -> int:
    """Return a size in bytes. Raises InvalidStream if it is none.

    >>> bytes_of("4GiB"), bytes_of("512M"), bytes_of(1000)
    (4294967296, 536870912, 1000)
    """
    found = _SIZE.fullmatch(str(size)) if isinstance(size, (int, str)) and not isinstance(size, bool) else None
    if found is None or float(found[1]) <= 0:
        raise InvalidStream(f"{size!r:.60} must be a size, such as '4GiB'")
    return int(float(found[1]) * _UNITS[found[2].lower()])
