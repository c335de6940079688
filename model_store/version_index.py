"""What is known of the versions of a store, read once: a learner thins them for weeks, and none ever changes."""

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
    """Of one version.

    Attributes
    ----------
    made_ms
        When; `None` where its manifest is refused: then it is neither counted nor deleted, and whatever in
        it looks like the name of an object keeps that object.
    objects
        The sha256 of each.
    """

    made_ms: int | None
    objects: frozenset[str]

    @classmethod
    def of(cls, manifest: Manifest) -> Content:
        """Return the content of a version that was verified."""
        return cls(manifest.created_at_ms, frozenset(ref.sha256 for ref in manifest.files.values()))

    @classmethod
    def refused(cls, data: bytes) -> Content:
        """Return what the bytes of a version that was refused may refer to."""
        return cls(None, frozenset(name.decode() for name in _SHA256.findall(data)))


def objects_of(contents: Iterable[Content]) -> frozenset[str]:
    """Return all their objects."""
    return frozenset().union(*(content.objects for content in contents))


@dataclass
class Leftovers:
    """Finds the objects of versions that were never finished, as after a crash between object and manifest.

    An object without a version may belong to one that is being written at this moment. So it goes only if
    it had none an hour ago either.
    """

    clock: Callable[[], float] = time.monotonic
    _suspects: dict[str, frozenset[str]] = field(default_factory=dict)
    _looked: dict[str, float] = field(default_factory=dict)

    def due(self, model: str) -> bool:
        """Tell whether it is time to look again."""
        return model not in self._looked or self.clock() - self._looked[model] >= _SWEEP_SECONDS

    def look(self, model: str, there: Iterable[str], used: frozenset[str]) -> frozenset[str]:
        """Return the objects to delete, given those that are there and those that versions have."""
        unused = frozenset(there) - used
        going = unused & self._suspects.get(model, frozenset())
        self._suspects[model] = unused - going
        self._looked[model] = self.clock()
        return going
