"""Which labels of a version that is about to serve are news: no version that served before had learned them."""

from __future__ import annotations

from model_store import Manifest, VersionId


class LabelNews:
    """Follows the versions that come to serve, by the times of the labels that each newly learned.

    An epoch learns once more what the one before had learned: its first version all of it, and the next ones what came
    while that was made. Only labels newer than all of the epoch before are news then.
    """

    def __init__(self) -> None:
        self._newest = 0  # label of any version, ms
        self._learned_before = 0  # as it was when this epoch began to serve

    def oldest(self, serving: VersionId | None, manifest: Manifest) -> int | None:
        """Return the time (ms) of the oldest label that is news, `None` without any, and where that is unknown.

        Parameters
        ----------
        serving
            What the version follows; after nothing it is old news: its labels served before, from another process.
        """
        self._newest = max(self._newest, manifest.labels_to_ms or 0)
        version, oldest = manifest.version, manifest.labels_from_ms
        if serving is None:
            return None
        if (serving.model, serving.epoch) != (version.model, version.epoch):
            self._learned_before = self._newest
            return None
        return oldest if oldest is not None and oldest > self._learned_before else None
