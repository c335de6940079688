"""Millstream: an online learner on an event stream.

A stream file holds one `Stream`; `Feature` says what a feature may be, `Retention` which versions stay.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from millstream.stream import InvalidStream, Stream
    from model_store.retention import Retention
    from schemas.contract import Feature

__all__ = ["Feature", "InvalidStream", "Retention", "Stream"]

_HOMES: Final = {
    "Feature": "schemas.contract",
    "InvalidStream": "millstream.stream",
    "Retention": "model_store.retention",
    "Stream": "millstream.stream",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `millstream --help` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module 'millstream' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
