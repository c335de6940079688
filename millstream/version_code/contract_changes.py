"""Changes of a contract: whether a model made under one contract fits events under another."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from schemas.contract import Contract, Feature


def misfit(now: Contract, then: Contract) -> str:
    """Return why events under contract `now` do not fit a model made under contract `then`; empty if they fit.

    Features may have been added, because such a model is not given them (see `names_seen`). The features that a model
    has been given must stay unchanged.

    >>> misfit(Contract(features={"a": Feature(), "b": Feature()}), Contract(features={"a": Feature()}))
    ''
    >>> misfit(Contract(features={"a": Feature(type="string")}), Contract(features={"a": Feature()}))
    "feature 'a' is declared otherwise now"
    """
    if not then.features:
        return "it had no features= then, and has now" if now.features else _otherwise(now, then)
    if not now.features:
        return "it had features= then, and has none now"
    for name, feature in then.features.items():
        if name not in now.features:
            return f"feature {name!r} is gone"
        if _meaning(now.features[name]) != _meaning(feature):
            return f"feature {name!r} is declared otherwise now"
    if then.unknown == "keep" and now.unknown != "keep":
        return f"features that are not named were kept then, and are not now (unknown={now.unknown!r})"
    return _otherwise(now, then)


def _calendar_misfit(now: Contract, then: Contract) -> str:
    """Return why the calendar features that a model was given are other ones now."""
    if then.calendar is None:
        return ""
    for name, part in then.calendar.names.items():
        if now.calendar is None or now.calendar.names.get(name) != part:
            return f"feature {name!r} of the calendar is gone"
    if now.calendar is not None and now.calendar.tz != then.calendar.tz:
        return f"the calendar's time zone was {then.calendar.tz} then, and is {now.calendar.tz} now"
    return ""


def _otherwise(now: Contract, then: Contract) -> str:
    if now.missing != then.missing:
        return f"missing={then.missing!r} is {now.missing!r} now"
    return _calendar_misfit(now, then)


def _meaning(feature: Feature) -> Feature:
    """Return a feature without the settings that the model does not depend on."""
    return msgspec.structs.replace(feature, bounds=None, private=False)


def names_seen(contract: Contract) -> frozenset[str] | None:
    """Return the features that a model under this contract was given; `None` if it may be any."""
    if contract.sees is not None:
        return frozenset(contract.sees)
    return None if not contract.features or contract.unknown == "keep" else frozenset(contract.declared)


def calendar_added(now: Contract, then: Contract) -> frozenset[str]:
    """Return the calendar's features that a model under contract `then` was not given."""
    names: Iterable[str] = () if now.calendar is None else now.calendar.names
    return frozenset(names) - frozenset(then.declared)
