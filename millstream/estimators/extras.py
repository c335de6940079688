"""Packages that a batch model needs and that not every installation has."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from millstream.stream.batch import BatchModel


def missing_extras(model: BatchModel) -> Iterator[str]:
    """Yield one line for each extra that a batch model needs and that is not installed here; it says the way out.

    >>> from sklearn.linear_model import LogisticRegression
    >>> [*missing_extras(BatchModel(LogisticRegression))]
    []
    """
    if model.onnx:
        yield from _missing("onnx=True", "onnx", "onnx", "onnxruntime", "skl2onnx")
    if model.cluster is not None:
        kind = model.cluster.partition("://")[0]
        yield from _missing(f"cluster='{kind}://…'", kind, {"dask": "distributed"}.get(kind, kind))


def _missing(key: str, extra: str, *packages: str) -> Iterator[str]:
    found = [each for each in packages if find_spec(each) is None]
    if found:
        verb = "is" if len(found) == 1 else "are"
        yield f"{key} needs {', '.join(found)}, which {verb} not installed here: pip install 'millstream[{extra}]'"
