"""Former flat parameters of `Stream`, which are in groups now.

A stream file that still has ``label_wait="7d"`` gets an error with the new spelling. A version carries its stream file
as it was when the version was made, and that file cannot be edited: in such code the old names still work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Final

from millstream.stream.errors import InvalidStream
from millstream.stream.parameter_groups import GROUPS
from schemas.sources.source import Source

FLAT: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "label_wait": ("labels", "wait"),
        "on_timeout": ("labels", "on_timeout"),
        "unknown": ("validation", "unknown"),
        "missing": ("validation", "missing"),
        "bounds": ("validation", "bounds"),
        "max_features": ("validation", "max_features"),
        "metrics": ("evaluation", "metrics"),
        "window": ("evaluation", "window"),
        "checkpoint_every": ("checkpoints", "every"),
        "checkpoint_examples": ("checkpoints", "examples"),
        "retention": ("checkpoints", "keep"),
        "max_model_bytes": ("checkpoints", "max_bytes"),
        "predictions_format": ("predictions", "format"),
        "predictions_features": ("predictions", "features"),
        "predictions_cloudevents": ("predictions", "cloudevents"),
        "dedup_window": ("join", "dedup_window"),
        "max_pending": ("join", "max_pending"),
        "snapshot_every": ("join", "snapshot_every"),
    }
)
"""Group, and name in the group, by old name."""
_accepted: Final[ContextVar[bool]] = ContextVar("_accepted", default=False)


@contextmanager
def flat_names_accepted() -> Iterator[None]:
    """Accept the old names inside this context, for code that a version carries."""
    token = _accepted.set(True)
    try:
        yield
    finally:
        _accepted.reset(token)


def grouped(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of a `Stream`, with old names moved into their groups if they are accepted.

    Raises
    ------
    InvalidStream
        For an old name if they are not accepted, with the new name in the message. For a name that is only in a group.
    """
    old = {name: place for name, value in given.items() if (place := _place(name, value)) is not None}
    if not _accepted.get():
        said = [_now(group, [name for name in old if old[name][0] == group]) for group in _groups(old)]
        said += [f"{name}= belongs in {group}={GROUPS[group].__name__}({name}=…)" for name, group in _misplaced(given)]
        if said:
            raise InvalidStream(f"Stream: {'; '.join(said)}")
        return given
    new = {name: value for name, value in given.items() if name not in old}
    for group in _groups(old):
        values = {parameter: given[name] for name, (into, parameter) in old.items() if into == group}
        new[group] = dataclasses.replace(new.get(group, GROUPS[group]()), **values)
    return new


def _place(name: str, value: object) -> tuple[str, str] | None:
    """Return the group and the name in it if the name or its value has the old form, otherwise `None`."""
    if name == "labels" and isinstance(value, (Source, list, tuple)):
        return "labels", "sources"
    return FLAT.get(name)


def _groups(old: Mapping[str, tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(group for group, _ in old.values()))


def _now(group: str, names: Sequence[str]) -> str:
    """Return the message with the new spelling of parameters of one group.

    >>> _now("labels", ["label_wait", "on_timeout"])
    'label_wait=, on_timeout= are now labels=Labels(wait=…, on_timeout=…)'
    """
    before = ", ".join("labels=Source(…)" if name == "labels" else f"{name}=" for name in names)
    after = ", ".join("sources=Source(…)" if name == "labels" else f"{FLAT[name][1]}=…" for name in names)
    return f"{before} {'is' if len(names) == 1 else 'are'} now {group}={GROUPS[group].__name__}({after})"


def _misplaced(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names that exist only in a group, with the group."""
    for name in given:
        for group, kind in GROUPS.items():
            mine = any(each.name == name for each in dataclasses.fields(kind))
            if mine and name not in FLAT and name != "features":
                yield name, group
