"""Index of a store's versions, read once: versions never change, and a learner prunes them for weeks."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from model_store.backends import Backend
from model_store.errors import NotFound
from model_store.manifest import Manifest
from model_store.object_keys import object_place, version_place
from model_store.retention import Pruned
from model_store.versions import VersionId

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


class VersionIndex:
    """The content of each version, and the deletion of versions together with the objects that only they have.

    Parameters
    ----------
    read
        Returns the content of a version. NotFound where it has been deleted.
    """

    def __init__(self, backend: Backend, read: Callable[[VersionId], Content]) -> None:
        self._backend = backend
        self._read = read
        self._known: dict[VersionId, Content] = {}
        self.leftovers = Leftovers()

    def add(self, manifest: Manifest) -> None:
        """Take note of a version that was verified."""
        self._known[manifest.version] = Content.of(manifest)

    def contents(self, versions: Iterable[VersionId]) -> dict[VersionId, Content]:
        """Return the content of these versions, without those that have been deleted since they were listed."""
        contents = {}
        for version in versions:
            if version not in self._known:
                with contextlib.suppress(NotFound):
                    self._known[version] = self._read(version)
            if version in self._known:
                contents[version] = self._known[version]
        return contents

    def delete(self, model: str, going: Sequence[VersionId], contents: Mapping[VersionId, Content]) -> Pruned:
        """Delete versions of a model, then the objects that no version has.

        Parameters
        ----------
        contents
            Of all versions of the model.
        """
        gone = set(going)
        used = objects_of(content for version, content in contents.items() if version not in gone)
        orphans = set(objects_of(contents[version] for version in going) - used)
        for version in going:
            self._backend.delete(version_place(version))
            self._known.pop(version, None)
        if self.leftovers.due(model):
            there = [name.rpartition("/")[2] for name in self._backend.names(f"{model}/objects")]
            orphans |= self.leftovers.look(model, there, used | orphans)
        for sha256 in orphans:
            self._backend.delete(object_place(model, sha256))
        return Pruned(tuple(going), len(orphans))
