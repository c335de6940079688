"""Examples of the log that a version has learned, so that it is not ranked by its answers to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from consumers.trainer.versions import COMPARISON, JOB, RANGE_BEGIN, REFIT
from model_store import Manifest, ModelStore, NotFound, VersionId

_EVER: Final = 1 << 62


@dataclass(frozen=True)
class _Part:
    """Offsets that were learned: of events that were predicted, and of labels that came, until two times (ms)."""

    begin: int
    end: int
    asked_ms: int = _EVER
    came_ms: int = _EVER

    def holds(self, offset: int, asked_ms: int, came_ms: int) -> bool:
        return self.begin <= offset < self.end and asked_ms <= self.asked_ms and came_ms <= self.came_ms


class Learned:
    """Parts of the log that a version, or one that it goes on from, has learned.

    A record within these that was left out, as a repeat or by a rule, counts as learned: this errs on the safe side.

    Parameters
    ----------
    topic_id
        The log. What was learned from another one is not known here.
    """

    def __init__(self, store: ModelStore, version: VersionId, topic_id: str) -> None:
        self._store = store
        self._topic_id = topic_id
        self._tested: _Part | None = None
        self._parts: list[_Part] = []
        self._add(version, newest=True)

    def holds(self, offset: int, asked_ms: int, came_ms: int) -> bool:
        """Return whether an example was learned, by its offset and the broker's times of prediction and label."""
        return any(part.holds(offset, asked_ms, came_ms) for part in self._parts)

    def tested(self, offset: int, asked_ms: int, came_ms: int) -> bool:
        """Return whether it was not learned, but lies in the range on whose newest part the version was tested."""
        tested = self._tested
        return (
            tested is not None and tested.holds(offset, asked_ms, came_ms) and not self.holds(offset, asked_ms, came_ms)
        )

    def _add(self, version: VersionId, *, newest: bool) -> None:
        manifest = self._manifest(version)
        if manifest is None or not self._store.is_log(manifest, self._topic_id):
            return
        if manifest.reason == JOB:
            self._add_trained(manifest, newest=newest)
        else:
            first = self._store.versions(version.model, version.epoch)[0]
            self._parts.append(_Part(self._store.manifest(first).offset, manifest.offset))
            manifest = self._store.manifest(first)
        if manifest.parent is not None and manifest.parent != version:
            self._add(manifest.parent, newest=False)

    def _add_trained(self, manifest: Manifest, *, newest: bool) -> None:
        extra: dict[str, Any] = manifest.extra
        begin, labels_to = int(extra.get(RANGE_BEGIN, 0)), manifest.labels_to_ms
        tested_from = (extra.get(COMPARISON) or {}).get("from_ms")
        if extra.get(REFIT) or labels_to is None or tested_from is None:
            self._parts.append(_Part(begin, manifest.offset))
            return
        self._parts.append(_Part(begin, manifest.offset, int(tested_from), labels_to))
        if newest:
            self._tested = _Part(begin, manifest.offset)

    def _manifest(self, version: VersionId) -> Manifest | None:
        """Return a version's manifest; of one that is gone that of the next, which has learned at least as much."""
        try:
            return self._store.manifest(version)
        except NotFound:
            later = [each for each in self._store.versions(version.model, version.epoch) if each > version]
            return self._store.manifest(later[0]) if later else None
