"""Parameters of `Stream` that were flat once and are in a group now.

A stream file that still says ``label_wait="7d"`` is told the new spelling. A version carries its stream file as it was
when the version was made, and nobody can edit that: in such code the old names still work.
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
"""By old name: the group and the name in it."""
_accepted: Final[ContextVar[bool]] = ContextVar("_accepted", default=False)


@contextmanager
def flat_names_accepted() -> Iterator[None]:
    """Take the old names for the new ones in here: for code that a version carries."""
    token = _accepted.set(True)
    try:
        yield
    finally:
        _accepted.reset(token)


def grouped(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a `Stream` is made with, old names put into their groups where they are accepted.

    Raises
    ------
    InvalidStream
        For an old name where they are not; the message says the new one. For a name that is only in a group.
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
    """Return the group and the name in it, where a name, or what it is given, is of the old spelling."""
    if name == "labels" and isinstance(value, (Source, list, tuple)):
        return "labels", "sources"
    return FLAT.get(name)


def _groups(old: Mapping[str, tuple[str, str]]) -> list[str]:
    return list(dict.fromkeys(group for group, _ in old.values()))


def _now(group: str, names: Sequence[str]) -> str:
    """Say how parameters of one group are spelled now.

    >>> _now("labels", ["label_wait", "on_timeout"])
    'label_wait=, on_timeout= are now labels=Labels(wait=…, on_timeout=…)'
    """
    before = ", ".join("labels=Source(…)" if name == "labels" else f"{name}=" for name in names)
    after = ", ".join("sources=Source(…)" if name == "labels" else f"{FLAT[name][1]}=…" for name in names)
    return f"{before} {'is' if len(names) == 1 else 'are'} now {group}={GROUPS[group].__name__}({after})"


def _misplaced(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names that are a group's alone, and the group."""
    for name in given:
        for group, kind in GROUPS.items():
            mine = any(each.name == name for each in dataclasses.fields(kind))
            if mine and name not in FLAT and name != "features":
                yield name, group
