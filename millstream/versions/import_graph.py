"""Import of an ONNX graph that was made elsewhere, as a version of a batch model."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from consumers.model.checkpoints import cpu_name
from consumers.model.estimator_model import wrap_estimator
from consumers.model.fingerprint import fingerprint
from consumers.model.graph_model import GRAPH_CLASSES, GraphEstimator
from consumers.model.river_model import Answer, ModelError
from consumers.model.row_form import Column, RowForm
from consumers.model.version_files import CODE_FILE, FORM, GRAPH_FILE, PROBE, PROBED
from millstream.estimators.declared_form import vector_of
from millstream.estimators.fitting import CannotTrain
from millstream.estimators.trial import depends_on_company
from millstream.stream.batch import BatchModel
from millstream.stream.load import LoadedStream
from millstream.stream.processor_rules import definition_of
from model_store import Draft, Manifest, ModelStore, VersionId
from model_store.onnx_graph import Port, require_graph
from schemas.events import Features, Scalar
from schemas.model_names import MAIN
from schemas.model_updates import Published

IMPORT: Final = "import"
"""Reason of a version that was made elsewhere."""
_TRIED: Final = 50
_PROBES: Final = 8
_ROUNDED: Final = 1e-3  # by which shares of 32 bits may miss 1


class CannotImport(Exception):  # noqa: N818
    """The graph does not fit the model; the message says why, and the way out."""


def import_graph(store: ModelStore, loaded: LoadedStream, graph: bytes, examples: int) -> Manifest:
    """Check a graph, try it, and put it into the store as the newest version of a batch model.

    Parameters
    ----------
    loaded
        The stream, with the batch model as its model.
    examples
        How many examples it was trained on, for its name.

    Raises
    ------
    CannotImport
        If it does not fit the declaration of the model.
    StoreError
        If it is refused, or the store cannot take it now.
    """
    stream, model = loaded.stream, loaded.stream.model
    if not isinstance(model, BatchModel):
        several = ", ".join(stream.batch) or "none, for it has no batch="
        raise CannotImport(f"{loaded.model or MAIN} is no batch model of the stream; these are: {several}")
    inputs, _ = require_graph(graph)
    form = _form(loaded, model, inputs)
    classes = _classes(loaded)
    try:
        answering = GraphEstimator(graph, form, classes)
    except ModelError as error:
        raise CannotImport(str(error)) from error
    try:
        asked = _made_up(form)
        for features in asked:
            _insist_on_shares(wrap_estimator(answering, stream.task, form).predict(features))
        if depends_on_company(answering, stream.task, form, asked):
            form = form.asked_alone()
        probe = [dict(sorted(each.items())) for each in asked[:_PROBES]]
        probed = fingerprint(wrap_estimator(answering, stream.task, form), probe)
    except (ModelError, ValueError) as error:
        raise CannotImport(f"the graph does not answer made-up events: {error}") from error
    finally:
        answering.close()
    definition = definition_of(loaded)
    before = store.versions(loaded.model_id)
    draft = Draft(
        version=VersionId(loaded.model_id, 1 + max((each.epoch for each in before), default=0), examples),
        topic_id="",
        offset=0,
        examples=examples,
        chain="",
        fingerprint=probed,
        definition=definition.hash,
        contract=definition.contract,
        created_at_ms=time.time_ns() // 1_000_000,
        reason=IMPORT,
        cpu=cpu_name(),
        extra={FORM: form.as_json(), GRAPH_CLASSES: classes, PROBE: probe, PROBED: probed},
    )
    files = {GRAPH_FILE: graph} | ({CODE_FILE: definition.code} if definition.code else {})
    return store.publish(draft, files)


def announcement(store: ModelStore, manifest: Manifest) -> Published:
    """Return the announcement of an imported version."""
    of = manifest.version
    sha256 = store.manifest_sha256(of)
    return Published(of.model, 0, of.epoch, of.examples, manifest.topic_id, manifest.offset, sha256, -1, -1, {})


def _insist_on_shares(answer: Answer) -> None:
    """Raise ModelError unless an answer's shares can be probabilities."""
    if answer.probabilities is None:
        return
    shares = answer.probabilities.values()
    if min(shares) < -_ROUNDED or abs(math.fsum(shares) - 1) > _ROUNDED:
        told = ", ".join(f"{each:.3g}" for each in shares)
        raise ModelError(
            f"its output is no probabilities, which are 0 or more and add up to 1, but {told}: add a Softmax"
        )


def _form(loaded: LoadedStream, model: BatchModel, inputs: Sequence[Port]) -> RowForm:
    if model.rows == "dicts":
        raise CannotImport(f"batch={loaded.model!r}: a graph takes no dictionaries; declare rows='vector' or 'frame'")
    if model.rows == "frame":
        kinds: dict[str, Any] = {"tensor(string)": "text", "tensor(float)": "number", "tensor(double)": "number"}
        unknown = [each.name for each in inputs if each.kind not in kinds]
        if unknown:
            raise CannotImport(f"inputs {', '.join(unknown)} of the graph are neither numbers nor texts")
        contract = loaded.stream.seen
        known = contract.declared if contract.features and contract.unknown != "keep" else {}
        if strange := [each.name for each in inputs if known and each.name not in known]:
            raise CannotImport(
                f"input {', '.join(map(repr, strange))} is no feature of the stream, which has {', '.join(known)}"
            )
        return RowForm("frame", tuple(Column(each.name, kinds[each.kind]) for each in inputs))
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs)
        raise CannotImport(f"the graph has the inputs {names}, and rows='vector' is one: declare rows='frame'")
    sizes = inputs[0].shape[1:]
    if not sizes or not all(size is not None and size > 0 for size in sizes):
        raise CannotImport(f"the graph's input {inputs[0].name!r} leaves open how many numbers an event has")
    try:
        return RowForm("vector", vector=vector_of(loaded.stream, ()), width=math.prod(size or 1 for size in sizes))
    except CannotTrain as error:
        raise CannotImport(str(error)) from error


def _classes(loaded: LoadedStream) -> list[Scalar] | None:
    stream = loaded.stream
    if stream.task == "regression":
        return None
    if stream.task == "binary":
        return [False, True]
    if stream.classes is None:
        raise CannotImport(f"{loaded.path.name}: classes= must name the classes in the order of the graph's output")
    return [*stream.classes]


def _made_up(form: RowForm) -> list[Features]:
    rng = np.random.default_rng(1)
    if form.rows == "vector":
        return [{form.vector: row} for row in rng.normal(size=(_TRIED, form.width)).tolist()]
    return [
        {each.name: "a" if each.kind == "text" else float(rng.normal()) for each in form.columns} for _ in range(_TRIED)
    ]
