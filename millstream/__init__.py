"""Millstream: an online learner on an event stream.

A stream file holds one `Stream`; `Feature` says what a feature may be, `Source` which topics of somebody else's it
reads. What a first stream can do without is in groups: `Labels`, `Validation`, `Evaluation`, `Checkpoints` (which has
`Retention`), `Predictions` and `Join`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from millstream.stream.calendar import Calendar
    from millstream.stream.errors import InvalidStream
    from millstream.stream.parameter_groups import Checkpoints, Evaluation, Join, Labels, Predictions, Validation
    from millstream.stream.stream import Stream
    from model_store.retention import Retention
    from schemas.contract import Feature
    from schemas.sources.source import Constant, Source

__all__ = [
    "Calendar",
    "Checkpoints",
    "Constant",
    "Evaluation",
    "Feature",
    "InvalidStream",
    "Join",
    "Labels",
    "Predictions",
    "Retention",
    "Source",
    "Stream",
    "Validation",
]

_GROUPS: Final = "millstream.stream.parameter_groups"
_HOMES: Final = {
    "Calendar": "millstream.stream.calendar",
    "Checkpoints": _GROUPS,
    "Constant": "schemas.sources.source",
    "Evaluation": _GROUPS,
    "Feature": "schemas.contract",
    "InvalidStream": "millstream.stream.errors",
    "Join": _GROUPS,
    "Labels": _GROUPS,
    "Predictions": _GROUPS,
    "Retention": "model_store.retention",
    "Source": "schemas.sources.source",
    "Stream": "millstream.stream.stream",
    "Validation": _GROUPS,
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `millstream --help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'millstream' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
