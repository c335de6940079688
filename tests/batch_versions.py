"""Versions of batch models as a job leaves them, made by hand: for tests of what serves them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from raw_kafka import raw_producer

from consumers.model.checkpoints import cpu_name
from consumers.model.estimator_model import one_thread, wrap_estimator
from consumers.model.fingerprint import fingerprint
from consumers.model.row_form import RowForm, class_array
from consumers.model.version_files import CODE_FILE, ESTIMATOR_FILE, FORM, PROBE, PROBED
from millstream.stream.load import LoadedStream
from millstream.stream.processor_rules import definition_of
from model_store import Draft, Manifest, ModelStore, VersionId, dumps_estimator
from runtime.kafka_client.cluster import Cluster
from schemas.events import Features, Scalar
from schemas.model_updates import ModelUpdate, Published
from schemas.topics import Names


def put_version(
    store: ModelStore,
    loaded: LoadedStream,
    epoch: int,
    rows: Sequence[Features],
    labels: Sequence[Scalar],
    *,
    topic_id: str = "topic",
    end: int | None = None,
    labels_to_ms: int | None = None,
    **extra: Any,
) -> Manifest:
    """Fit the model of `loaded` on rows, and publish it in the store, as trained on the log up to `end`."""
    stream, model = loaded.stream, loaded.stream.model
    y, classes = class_array(labels, stream.task)
    vector = next(iter(rows[0]), "") if model.rows == "vector" else ""
    form = replace(RowForm.of(model.rows, rows, vector=vector), classes=classes)
    with one_thread():
        estimator = model().fit(form.matrix(rows), y)
    face = wrap_estimator(estimator, stream.task, form)
    probe = [dict(sorted(each.items())) for each in rows[-8:]]
    probed = fingerprint(face, probe)
    definition = definition_of(loaded)
    draft = Draft(
        version=VersionId(loaded.model_id, epoch, len(rows)),
        topic_id=topic_id,
        offset=len(rows) if end is None else end,
        examples=len(rows),
        chain=f"{len(rows):064x}",
        fingerprint=probed,
        definition=definition.hash,
        contract=definition.contract,
        created_at_ms=time.time_ns() // 1_000_000,
        cpu=cpu_name(),
        reason="job",
        extra={FORM: form.as_json(), PROBE: probe, PROBED: probed, **extra},
        labels_to_ms=labels_to_ms,
    )
    return store.publish(draft, {ESTIMATOR_FILE: dumps_estimator(estimator), CODE_FILE: definition.code})


def announce(cluster: Cluster, names: Names, store: ModelStore, manifest: Manifest) -> None:
    """Announce a version as a trainer does."""
    of = manifest.version
    sha256 = store.manifest_sha256(of)
    said = Published(of.model, 0, of.epoch, of.examples, "topic", manifest.offset, sha256, -1, -1, {})
    update: Any = ModelUpdate(manifest.created_at_ms, said).encode()
    with closing(raw_producer(cluster)) as producer:
        for kind in ("decisions", "models"):
            producer.send(names.topic(kind), update, said.key.encode(), partition=0)
        producer.flush(20)
