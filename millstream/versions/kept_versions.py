"""Kept versions of a stream's models, as the rollback of an alert rule chooses among them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from consumers.model.standing_answers import answers_since
from millstream.versions.decisions import usable
from millstream.versions.rollback import announced
from model_store import ModelStore, StoreError, VersionId

_LISTED_SECONDS: Final = 60.0
"""A list of the kept versions is used for so long: each costs a request."""
_MOST_MADE: Final = 1000
"""Versions whose times are remembered: one that is pinned is asked for with each batch of its answers."""


class KeptVersions:
    """The `VersionsBefore` of a model store.

    A rebuilt version does not count: it serves only from its adoption on, which the store does not know. Nor does an
    untrained one, which knows less than any that could be wrong.
    """

    def __init__(self, store: ModelStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._listed: dict[str, tuple[float, frozenset[VersionId]]] = {}
        self._made: dict[VersionId, int] = {}

    def before(self, model: str, at_ms: int) -> VersionId | None:
        """Return the newest version announced before a time that predictors would serve, `None` if there is none."""
        for _, version in sorted(
            ((at, each) for each, at in announced(self._store, model, {}) if at < at_ms and each.examples), reverse=True
        ):
            try:
                usable(self._store, version)
            except StoreError:
                continue
            return version
        return None

    def keep(self, version: VersionId) -> None:
        """Protect a version from retention."""
        self._store.pin(version)

    def made(self, version: VersionId) -> int | None:
        """Return when a version was made (ms), `None` if it is not kept, or the store does not answer."""
        try:
            if version not in self._made and version in self._kept(version.model):
                if len(self._made) >= _MOST_MADE:
                    self._made.clear()
                self._made[version] = self._store.manifest(version).created_at_ms
        except (StoreError, OSError):
            return None
        return self._made.get(version)

    def answers_since(self, version: VersionId) -> int | None:
        """Return with how many examples a version's answers changed last, `None` if the store cannot tell now."""
        try:
            return answers_since(self._store.manifest(version))
        except (StoreError, OSError):
            return None

    def _kept(self, model: str) -> frozenset[VersionId]:
        listed, kept = self._listed.get(model, (-_LISTED_SECONDS, frozenset()))
        if self._clock() - listed >= _LISTED_SECONDS:
            kept = frozenset(self._store.versions(model))
            self._listed[model] = self._clock(), kept
        return kept
