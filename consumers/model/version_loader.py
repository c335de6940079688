"""Loading of a version to answer with: with all checks, in this process or in one of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from consumers.model.estimator_model import wrap_estimator
from consumers.model.graph_conversion import CannotConvert, wrap_graph
from consumers.model.graph_model import GRAPH_CLASSES, GraphEstimator
from consumers.model.river_model import ModelError, RiverModel, wrap
from consumers.model.row_form import RowForm
from consumers.model.version_files import ESTIMATOR_FILE, FORM, GRAPH_FILE, MODEL_FILE, PROBE
from consumers.model.version_runtime import RunWith, try_out
from model_store import Manifest, ModelStore, VersionRefused
from model_store.gil_pause import Breath, no_breath
from schemas.events import Features
from schemas.target import Task

LARGE_BYTES: Final = 32 << 20
"""Size from which a model gets a process of its own."""
LARGE_ESTIMATOR_BYTES: Final = 1 << 20
"""The same for an estimator: its file is packed, and read by Python code, half a second for each of these."""
SLOW_SECONDS: Final = 0.02
"""Time of one answer from which an estimator gets one: other threads of this process have to wait meanwhile."""


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
        run_with = self.choose(manifest)
        start = self.start_process
        if start is not None and _is_large(manifest):
            return LoadedModel(run_with.narrowed(start(manifest, sha256)), apart=True)
        face = load_face(self.store, manifest, run_with, self.task, breath)
        try_out(face, manifest)
        # A learner's versions come every second, so each of those must not start a process.
        if (
            start is not None
            and ESTIMATOR_FILE in manifest.files
            and GRAPH_FILE not in manifest.files
            and answer_seconds(face, manifest) >= SLOW_SECONDS
        ):
            return LoadedModel(run_with.narrowed(start(manifest, sha256)), apart=True)
        return LoadedModel(face, apart=False)


def load_face(
    store: ModelStore, manifest: Manifest, run_with: RunWith, task: Task, breath: Breath = no_breath
) -> RiverModel:
    """Return the model of a version, of River or of scikit-learn, ready to answer but not tried.

    Raises
    ------
    StoreError
        If it cannot be loaded.
    """
    if GRAPH_FILE in manifest.files:
        return run_with.narrowed(_graph_face(store, manifest, task))
    if ESTIMATOR_FILE in manifest.files:
        estimator = store.load_estimator(manifest, ESTIMATOR_FILE)
        try:
            return run_with.narrowed(wrap_estimator(estimator, task, RowForm.from_json(manifest.extra.get(FORM))))
        except ModelError as error:
            raise VersionRefused(f"version {manifest.version}: {error}") from error
    allowed, find = run_with.allowed, run_with.find
    model = store.load(manifest, MODEL_FILE, extra_allowed=allowed, find=find, breath=breath)
    return run_with.narrowed(wrap(model, task))


def _graph_face(store: ModelStore, manifest: Manifest, task: Task) -> RiverModel:
    """Return the model of a version that answers with a graph, of an estimator or made elsewhere."""
    with store.believed(manifest, GRAPH_FILE, estimator=True) as blob:
        graph = bytes(blob.contents())
    try:
        form = RowForm.from_json(manifest.extra.get(FORM))
        if ESTIMATOR_FILE in manifest.files:
            return wrap_graph(graph, store.load_estimator(manifest, ESTIMATOR_FILE), task, form)
        return wrap_estimator(GraphEstimator(graph, form, manifest.extra.get(GRAPH_CLASSES)), task, form)
    except (ModelError, CannotConvert) as error:
        raise VersionRefused(f"version {manifest.version}: {error}") from error


def answer_seconds(face: RiverModel, manifest: Manifest) -> float:
    """Return how long an answer to one of the version's probe events takes, 0 if it has none."""
    probe: Sequence[Features] = manifest.extra.get(PROBE, ())
    found = 0.0
    for features in probe[:2]:  # the shorter of two: the machine may have been busy with something else
        began = time.perf_counter()
        with contextlib.suppress(Exception):  # what it refuses, it refuses quickly
            face.predict(features)
        took = time.perf_counter() - began
        found = min(found or took, took)
    return found


def model_bytes(manifest: Manifest) -> int:
    """Return the size of the files that a version's model is loaded from."""
    found = (manifest.files.get(name) for name in (MODEL_FILE, ESTIMATOR_FILE, GRAPH_FILE))
    return sum(file.size for file in found if file is not None)


def _is_large(manifest: Manifest) -> bool:
    return model_bytes(manifest) >= (LARGE_ESTIMATOR_BYTES if ESTIMATOR_FILE in manifest.files else LARGE_BYTES)
