"""Index of a store's versions, read once: versions never change, and a learner prunes them for weeks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from model_store.manifest import Manifest

_SWEEP_SECONDS: Final = 3600.0
_SHA256: Final = re.compile(rb"[0-9a-f]{64}")


@dataclass(frozen=True)
class Content:
    """Creation time and objects of one version.

    Attributes
    ----------
    made_ms
        Creation time; `None` if the manifest is refused. Such a version is neither counted nor deleted, and every text
        in it that looks like an object's name keeps that object.
    objects
        The sha256 of each object.
    """

    made_ms: int | None
    objects: frozenset[str]

    @classmethod
    def of(cls, manifest: Manifest) -> Content:
        """Return the content of a verified version."""
        return cls(manifest.created_at_ms, frozenset(ref.sha256 for ref in manifest.files.values()))

    @classmethod
    def refused(cls, data: bytes) -> Content:
        """Return the objects to which the bytes of a refused version may refer."""
        return cls(None, frozenset(name.decode() for name in _SHA256.findall(data)))


def objects_of(contents: Iterable[Content]) -> frozenset[str]:
    """Return the objects of all contents."""
    return frozenset().union(*(content.objects for content in contents))


@dataclass
class Leftovers:
    """Finds objects of versions that were never completed, for example after a crash before the manifest.

    An object without a version may belong to one that is being written, so it is deleted only if it had no version an
    hour ago either.
    """

    clock: Callable[[], float] = time.monotonic
    _suspects: dict[str, frozenset[str]] = field(default_factory=dict)
    _looked: dict[str, float] = field(default_factory=dict)

    def due(self, model: str) -> bool:
        """Return whether it is time for the next search."""
        return model not in self._looked or self.clock() - self._looked[model] >= _SWEEP_SECONDS

    def look(self, model: str, there: Iterable[str], used: frozenset[str]) -> frozenset[str]:
        """Return the objects to delete, given the existing and the used ones."""
        unused = frozenset(there) - used
        going = unused & self._suspects.get(model, frozenset())
        self._suspects[model] = unused - going
        self._looked[model] = self.clock()
        return going
