"""Millstream: an online learner on an event stream.

A stream file holds one `Stream`; `Feature` says what a feature may be, `Retention` which versions stay,
`Source` which topics of somebody else's it reads.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from millstream.stream.stream import InvalidStream, Stream
    from model_store.retention import Retention
    from schemas.contract import Feature
    from schemas.sources.source import Constant, Source

__all__ = ["Constant", "Feature", "InvalidStream", "Retention", "Source", "Stream"]

_HOMES: Final = {
    "Constant": "schemas.sources.source",
    "Feature": "schemas.contract",
    "InvalidStream": "millstream.stream.stream",
    "Retention": "model_store.retention",
    "Source": "schemas.sources.source",
    "Stream": "millstream.stream.stream",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `millstream --help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'millstream' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
