"""Object keys in a store: names of versions, pins and files, and the reverse."""

from __future__ import annotations

import re
from typing import Final

from model_store.versions import VersionId

_VERSION: Final = re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)?)/versions/([0-9]{6})/([0-9]{15})\.json")
_PIN: Final = re.compile(r"([a-z0-9-]+(?:\.[a-z0-9-]+)?)/pins/([0-9]{6})-([0-9]{15})")


def version_place(version: VersionId) -> str:
    """Return the key of a version's manifest, which is the version.

    >>> version_place(VersionId("m", 1, 30)), version_at(version_place(VersionId("m", 1, 30))).examples
    ('m/versions/000001/000000000000030.json', 30)
    """
    return f"{version.model}/versions/{version.epoch:06d}/{version.examples:015d}.json"


def pin_place(version: VersionId) -> str:
    """Return the key of a version's pin, which exists if the version is pinned."""
    return f"{version.model}/pins/{version.epoch:06d}-{version.examples:015d}"


def object_place(model: str, sha256: str) -> str:
    """Return the key of a file of a model's versions."""
    return f"{model}/objects/{sha256}"


def version_at(name: str) -> VersionId | None:
    """Return the version with this key, `None` if it is not a version's."""
    return _matched(_VERSION, name)


def pinned_at(name: str) -> VersionId | None:
    """Return the version whose pin has this key, `None` if it is not a pin's."""
    return _matched(_PIN, name)


def _matched(pattern: re.Pattern[str], name: str) -> VersionId | None:
    match = pattern.fullmatch(name)
    return None if match is None else VersionId(match[1], int(match[2]), int(match[3]))
