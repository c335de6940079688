"""Loading of a version to answer with: with all checks, in this process or in one of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from consumers.model.checkpoints import MODEL_FILE
from consumers.model.river_model import RiverModel
from consumers.model.version_runtime import RunWith, try_out
from model_store import Manifest, ModelStore
from model_store.gil_pause import Breath, no_breath
from schemas.target import Task

LARGE_BYTES: Final = 32 << 20
"""Size from which a model gets a process of its own."""


class LoadedModel(NamedTuple):
    """A model that has passed its own probe; `apart` if it is in a process of its own."""

    face: RiverModel
    apart: bool


@dataclass(frozen=True)
class VersionLoader:
    """Loads versions of a stream's models.

    Attributes
    ----------
    choose
        Chooses the code that runs a version, or refuses it.
    start_process
        Starts a separate process for a large version; without it all versions are loaded here.
    """

    store: ModelStore
    task: Task
    choose: Callable[[Manifest], RunWith]
    start_process: Callable[[Manifest, str | None], RiverModel] | None = None

    def load(self, manifest: Manifest, sha256: str | None, breath: Breath = no_breath) -> LoadedModel:
        """Return the model of a version.

        Parameters
        ----------
        sha256
            The announced hash of the manifest, if it was announced.
        breath
            Called while it loads, to give other threads time.

        Raises
        ------
        StoreError, ModelError
            If it cannot be loaded, or does not answer as it did when it was written.
        """
        file = manifest.files.get(MODEL_FILE)
        run_with = self.choose(manifest)
        if self.start_process is not None and file is not None and file.size >= LARGE_BYTES:
            return LoadedModel(run_with.narrowed(self.start_process(manifest, sha256)), apart=True)
        allowed, find = run_with.allowed, run_with.find
        model = self.store.load(manifest, MODEL_FILE, extra_allowed=allowed, find=find, breath=breath)
        face = run_with.face(model, self.task)
        try_out(face, manifest)
        return LoadedModel(face, apart=False)
