"""History of an example in each epoch: learned, refused, left out as poison, or edited out.

A version's offset in the log shows what it has read. Its state lists the examples that the rules refused, its manifest
those that broke the model, and its epoch's edits those that were left out on purpose; it has learned all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

from consumers.model.checkpoints import EDITS_FILE, REBUILD_START, STATE_FILE
from consumers.model.log_edits import Edits, UnusableEdits, editor
from consumers.model.version_runtime import RunWith
from model_store import Manifest, ModelStore, StoreError
from model_store.offset_runs import Offsets
from runtime.kafka_client.records import Record
from schemas.codec import CodecError

How = Literal["learned", "refused", "broke the model", "left out"]
WHY: Final[dict[How, str]] = {
    "refused": "the rules refused it",
    "broke the model": "it broke the model",
    "left out": "rebuilt without it",
}


@dataclass(frozen=True)
class Fate:
    """Result for an example in one epoch.

    Attributes
    ----------
    version
        The first existing version that has read the example.
    """

    version: Manifest
    how: How


class ExampleHistory:
    """The versions of a model that read one log.

    Parameters
    ----------
    run_with
        Returns the code to read a version's state with; raises VersionRefused.
    """

    def __init__(self, store: ModelStore, model: str, topic_id: str, run_with: Callable[[Manifest], RunWith]) -> None:
        self._store = store
        self._run_with = run_with
        self._epochs: dict[int, list[Manifest]] = {
            epoch: list(each)
            for epoch, each in groupby(self._readable(model, topic_id), lambda manifest: manifest.version.epoch)
        }

    def _readable(self, model: str, topic_id: str) -> Iterator[Manifest]:
        """Yield the versions that can be read and have read this log, oldest first."""
        for version in self._store.versions(model):
            try:
                manifest = self._store.manifest(version)
                if self._store.is_log(manifest, topic_id):
                    yield manifest
            except StoreError:
                continue

    def fates(self, records: Sequence[Record]) -> list[Fate]:
        """Return the fate of the first of `records` in each epoch; the others are later records of the same event.

        An epoch that began after the example is left out if its parent epoch is present, or if its model began
        untrained.
        """
        record = records[0]
        found: list[Fate] = []
        inherited: list[Fate] = []
        for versions in self._epochs.values():
            knows = next((each for each in versions if each.offset > record.offset), None)
            if knows is None or (knows is versions[0] and knows.examples == 0):
                continue
            began_before = versions[0].offset <= record.offset or versions[0].parent is None
            (found if began_before else inherited).append(Fate(knows, self._how(versions[0], knows, records)))
        return found or inherited

    def _how(self, first: Manifest, knows: Manifest, records: Sequence[Record]) -> How:
        offset = records[0].offset
        if first.reason == REBUILD_START and self._is_edited_out(first, records):
            return "left out"
        if offset in Offsets(knows.skipped):
            return "broke the model"
        return "refused" if self._is_refused(knows, offset) else "learned"

    def _is_edited_out(self, first: Manifest, records: Sequence[Record]) -> bool:
        if EDITS_FILE not in first.files:
            return False
        try:
            edits = Edits.decode(self._store.read(first, EDITS_FILE))
            return editor(edits, records).read(records[0])[1]
        except (StoreError, UnusableEdits, CodecError):
            return False

    def _is_refused(self, manifest: Manifest, offset: int) -> bool:
        """Return whether the rules refused the example; a state lists only the newest refused ones."""
        try:
            code = self._run_with(manifest)
            state: Any = self._store.load(manifest, STATE_FILE, extra_allowed=code.allowed, find=code.find)
        except StoreError:
            return False
        return isinstance(state, dict) and offset in Offsets(state.get("refused", ()))
