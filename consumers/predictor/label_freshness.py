"""Freshness of a version's labels: finds the labels that no version served before had learned."""

from __future__ import annotations

from model_store import Manifest, VersionId


class LabelNews:
    """Tracks served versions by the times of the labels that each of them newly learned.

    A new epoch learns again what the previous epoch had learned: its first version all of it, and the next versions the
    labels that came meanwhile. So only labels newer than all of the previous epoch's are news.
    """

    def __init__(self) -> None:
        self._newest = 0  # label of any version, ms
        self._learned_before = 0  # value of `_newest` when this epoch began to serve

    def oldest(self, serving: VersionId | None, manifest: Manifest) -> int | None:
        """Return the time (ms) of the oldest label that is news, `None` if there is none or it is unknown.

        Parameters
        ----------
        serving
            The version served before; with `None` nothing is news, because another process has served these labels.
        """
        self._newest = max(self._newest, manifest.labels_to_ms or 0)
        version, oldest = manifest.version, manifest.labels_from_ms
        if serving is None:
            return None
        if (serving.model, serving.epoch) != (version.model, version.epoch):
            self._learned_before = self._newest
            return None
        return oldest if oldest is not None and oldest > self._learned_before else None
