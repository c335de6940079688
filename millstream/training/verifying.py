"""Verification of a batch version: it is trained again on its range of the log, and compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from consumers.model.checkpoints import cpu_name
from consumers.model.row_form import RowForm
from consumers.model.verify import Verified
from consumers.model.version_files import ESTIMATOR_FILE, FORM, PROBE
from consumers.trainer.training_messages import ESTIMATOR, TrainingResult
from consumers.trainer.versions import COMPARISON, JOB, PARAMETERS, RANGE_BEGIN, TOLERANCE
from millstream.estimators.fitting import CannotTrain
from millstream.estimators.trial import answers_of, face_of, most_apart
from millstream.stream.load import LoadedStream
from millstream.training.reading import collected, read_range
from millstream.training.training import Task, train
from millstream.training.warm_start import parent_of
from millstream.version_code.choice import OtherCode, VersionCode
from millstream.versions.operations import CannotVerify
from model_store import Manifest, ModelStore, VersionId
from model_store.estimators import loads_estimator

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from runtime.kafka_client.records import Record
    from schemas.topics import Names

_CAP_BYTES: Final = 4 << 30


def is_trained(manifest: Manifest) -> bool:
    """Return whether a version was made by a job."""
    return ESTIMATOR_FILE in manifest.files and manifest.reason == JOB


def verify_trained(
    code: VersionCode, cluster: Cluster, names: Names, wanted: VersionId, progress: Callable[[int, int], None]
) -> Verified:
    """Train a version again with the parameters that were chosen for it, and compare.

    Raises
    ------
    CannotVerify
        If it was trained on another log, a part of the log is gone, or its code must not be run.
    NotFound
        If there is no such version.
    """
    store = code.store
    target = store.manifest(wanted)
    try:
        then = code.as_then(target)
    except OtherCode as error:
        raise CannotVerify(str(error)) from error
    topic = names.topic("examples")
    found = cluster.topic_info(topic).get(topic)
    if found is None or not store.is_log(target, found.id):
        raise CannotVerify(f"{topic} is not the log that version {target.version} was trained on")
    begin = int(target.extra[RANGE_BEGIN])
    try:
        return retrained(store, then, target, read_range(cluster, names, found.id, begin, target.offset), progress)
    except CannotTrain as error:
        raise CannotVerify(str(error)) from error


def retrained(
    store: ModelStore,
    then: LoadedStream,
    target: Manifest,
    records: Iterable[Sequence[Record]],
    progress: Callable[[int, int], None],
) -> Verified:
    """Return how a version compares with the one that the records of its range give. Raises CannotTrain."""
    count = target.offset - int(target.extra[RANGE_BEGIN])
    parent = None if target.parent is None else parent_of(store, target.parent, target.topic_id)

    def show(done: int, of: int, text: str) -> None:
        if of == count:  # of the fits nobody knows beforehand how long they take
            progress(done, of)

    with tempfile.TemporaryDirectory() as folder:
        task = Task(then.stream, Path(folder), target.extra[PARAMETERS], parent)
        result = train(task, collected(then.stream, task.model, records, count, None, show), None, show)
        again = (Path(folder) / ESTIMATOR).read_bytes()
    return Verified(
        target.version,
        target.version if target.parent is None else target.parent,
        count,
        learned=result.examples == target.examples,
        chain=result.chain == target.chain,
        fingerprint=_equal(store, then, target, result, again) if target.cpu == cpu_name() else None,
    )


def _equal(store: ModelStore, then: LoadedStream, target: Manifest, result: TrainingResult, again: bytes) -> bool:
    """Return whether the answers to the probe are equal, within the tolerance of the manifest."""
    tolerance = float(target.extra.get(TOLERANCE, 0.0))
    if not tolerance:
        # The answers to the test part are many more than the probe, where classes without shares say little.
        before, now = ((each or {}).get("answers") for each in (target.extra.get(COMPARISON), result.comparison))
        return result.probed == target.fingerprint and before in (None, now)
    if result.probed == target.fingerprint:
        return True
    form, task = RowForm.from_json(target.extra.get(FORM)), then.stream.task
    probe: list[Any] = target.extra[PROBE]
    first, second = (
        answers_of(face_of(loads_estimator(data, cap_bytes=_CAP_BYTES), task, form), probe)
        for data in (store.read(target, ESTIMATOR_FILE), again)
    )
    return most_apart(first, second) <= tolerance
