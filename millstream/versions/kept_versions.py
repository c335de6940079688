"""Kept versions of a stream's models, as the rollback of an alert rule chooses among them."""

from __future__ import annotations

from millstream.versions.decisions import usable
from millstream.versions.rollback import announced
from model_store import ModelStore, StoreError, VersionId


class KeptVersions:
    """The `VersionsBefore` of a model store.

    A rebuilt version does not count: it serves only from its adoption on, which the store does not know. Nor does an
    untrained one, which knows less than any that could be wrong.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store

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
