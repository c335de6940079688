"""Exact whole numbers: checks that a long or a double can hold a number without rounding.

A long holds 64 bits. A double holds each whole number up to 2^53; beyond that it rounds some numbers, so that two ids
become one. A number that neither can hold is refused and never rounded: senders can keep it as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

import msgspec

EXACT: Final = 1 << 53  # up to here each whole number has its own double
_LONG: Final = 1 << 63


class NotExact(ValueError):  # noqa: N818
    """A whole number would be rounded; the message gives the reason and the solution."""


def long_of(value: int, what: str) -> int:
    """Return a whole number if it fits into 64 bits.

    >>> long_of(1234567890123456001, "feature 'user'")
    1234567890123456001

    Raises
    ------
    NotExact
        If it does not fit; the message begins with `what`.
    """
    if -_LONG <= value < _LONG:
        return value
    raise NotExact(f"{what} is {_shown(value)}, beyond 64 bits: a double would round it; keep it as text")


def vector_of(values: Sequence[float], what: str) -> list[float]:
    """Return numbers as the doubles of a vector.

    Raises
    ------
    NotExact
        If a double cannot hold one of the whole numbers exactly.
    """
    for place, value in enumerate(values):
        if isinstance(value, int) and abs(value) > EXACT and not _has_double(value):
            said = f"{what} holds {_shown(value)} at {place}"
            raise NotExact(f"{said}: a vector holds doubles, which round whole numbers beyond 2^53")
    return [float(value) for value in values]


def may_be_rounded(values: Sequence[float]) -> bool:
    """Return whether some doubles are so large that they may be rounded whole numbers."""
    return bool(values) and (max(values) >= EXACT or min(values) <= -EXACT)


def plain_decimal(value: Decimal) -> int | float:
    """Return the nearest double; but a decimal beyond 2^53 without decimal places (an id, say) as an exact integer.

    >>> plain_decimal(Decimal("19.99")), plain_decimal(Decimal("12")), plain_decimal(Decimal("1234567890123456001"))
    (19.99, 12.0, 1234567890123456001)
    """
    exponent = value.as_tuple().exponent
    if exponent == 0 and abs(value) > EXACT:
        return int(value)
    return float(value)


def rounded(data: bytes) -> str | None:
    """Return a message about a whole number in a JSON event or label that would be rounded; `None` if none would.

    >>> rounded(b'{"event_id": "a", "value": 123456789012345678901}')
    'the label is 123456789012345678901, beyond 64 bits: a double would round it; keep it as text'
    """
    try:
        message = msgspec.json.decode(data)
        named = [(f"feature {name!r}", value) for name, value in message.get("features", {}).items()]
        for what, value in [*named, ("the label", message.get("value"))]:
            if isinstance(value, list):
                vector_of(value, what)
            elif isinstance(value, int):
                long_of(value, what)
    except NotExact as error:
        return str(error)
    except Exception:  # noqa: BLE001 - the decoder will report any other error
        return None
    return None


def _has_double(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _shown(value: int) -> str:
    # Python refuses to print more than 4,300 digits.
    return str(value) if value.bit_length() <= 256 else f"a whole number of {value.bit_length()} bits"
