"""ONNX graphs as estimators: converted from one of scikit-learn, or made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from consumers.model.river_model import ModelError
from consumers.model.row_form import RowForm
from model_store.onnx_graph import GraphProcess, Port

GRAPH_CLASSES: Final = "graph_classes"
"""In a manifest: the classes of a graph's probabilities in their order, `None` for a regression."""
_FLOATS: Final = {"tensor(float)": np.float32, "tensor(double)": np.float64}


class GraphEstimator:
    """A graph behind the methods that an estimator has; `predict_proba` only with `classes`.

    Parameters
    ----------
    classes
        Of the probabilities, in their order; `None` for a regression.
    first
        A fitted vectorizer of dictionaries, whose matrix is the graph's input.
    """

    DECIDES_BY_SHARE: Final = True  # so it is asked once, not for shares and for classes

    def __init__(self, graph: bytes, form: RowForm, classes: Sequence[Any] | None, first: Any = None) -> None:
        self._process = GraphProcess(graph)
        self._form = form
        self._first = first
        self._output = _output(self._process.outputs, None if classes is None else len(classes))
        if classes is not None:
            self.classes_ = [*classes]
            self.predict_proba = self._run

    def predict(self, rows: Any) -> Any:
        """Return the numbers of a regression, or the class with the largest share."""
        found = self._run(rows)
        if not hasattr(self, "classes_"):
            return found.reshape(-1)
        return [self.classes_[place] for place in found.argmax(axis=1).tolist()]

    def _run(self, rows: Any) -> Any:
        if self._first is not None:
            rows = self._first.transform(rows)
        inputs = self._process.inputs
        if self._form.rows == "frame":
            given = {each.name: _column(each, rows) for each in inputs}
        else:
            given = {inputs[0].name: _shaped(inputs[0], np.asarray(rows))}
        return np.asarray(self._process.run(given)[self._output], dtype=np.float64)

    def close(self) -> None:
        """End the process of the graph."""
        self._process.close()


def _output(outputs: Sequence[Port], classes: int | None) -> int:
    """Return the place of the output that holds probabilities, or numbers. Raises ModelError if none does."""
    for place, port in enumerate(outputs):
        wide = port.shape[-1] if len(port.shape) == 2 else None
        if port.kind not in _FLOATS:
            continue
        if classes is None and len(port.shape) in (1, 2) and wide in (None, 1):
            return place
        if classes is not None and len(port.shape) == 2 and wide in (None, classes):
            return place
    what = "numbers" if classes is None else f"probabilities of {classes} classes"
    raise ModelError(f"the graph has no output of {what}: {[(each.name, each.kind, each.shape) for each in outputs]}")


def _shaped(port: Port, matrix: Any) -> Any:
    """Return the matrix in the form of an input: its first dimension is the events."""
    kind = _FLOATS.get(port.kind)
    if kind is None:
        raise ModelError(f"the graph's input {port.name!r} is of {port.kind}, not of numbers")
    rest = [-1 if size is None else size for size in port.shape[1:]]
    if rest.count(-1) > 1:
        rest = [matrix.shape[1]]
    return matrix.astype(kind).reshape(len(matrix), *rest)


def _column(port: Port, frame: Any) -> Any:
    if port.name not in frame:
        raise ModelError(f"the graph's input {port.name!r} is no column")
    values = frame[port.name].to_numpy()
    if port.kind == "tensor(string)":
        return values.astype(object).reshape(-1, 1)
    return values.astype(_FLOATS.get(port.kind, np.float32)).reshape(-1, 1)
