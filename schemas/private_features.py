"""Private features: what is shown in place of their values."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

MASK: Final = "(private)"
HEADER: Final = "millstream-private"
"""Header of a dead letter whose record may have values of private features: whoever shows it shows no value."""

_TOLD: Final = re.compile(r"( (?:is|holds|returned) |raised \w+: )(.*)", re.DOTALL)


def masked(features: Mapping[str, Any], private: Collection[str]) -> dict[str, Any]:
    """Return features for people, in which no private value is left.

    >>> masked({"iban": "DE02", "amount": 3.0}, {"iban"})
    {'iban': '(private)', 'amount': 3.0}
    """
    return {name: MASK if name in private and value is not None else value for name, value in features.items()}


def without_values(text: str, features: Mapping[str, Any], private: Collection[str]) -> str:
    """Return a text, such as a model's exception, in which the values of private features are masked.

    >>> without_values("could not convert 'DE02' to float", {"iban": "DE02"}, {"iban"})
    'could not convert (private) to float'
    """
    spelled = {
        each
        for name in private
        if (value := features.get(name)) is not None
        for one in (value if isinstance(value, list) else [value])
        for each in (str(one), repr(one))
    }
    for each in sorted(filter(None, spelled), key=len, reverse=True):
        text = text.replace(each, MASK)
    return text


def without_any_value(text: str) -> str:
    """Return the reason why a message was refused, without what it says the message held.

    >>> without_any_value("the time at $.at is 'DE02': neither ms since 1970 nor ISO 8601")
    'the time at $.at is (private)'
    """
    return _TOLD.sub(rf"\1{MASK}", text, count=1)
