"""`millstream models import-onnx`: a graph made elsewhere becomes a version of a batch model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from millstream.cli.models import app
from millstream.cli.shared_options import HERE, Json, StreamFileName, UsageError, Where, print_fields, print_json


@app.command(name="import-onnx")
def import_onnx(
    stream: StreamFileName,
    model: Annotated[str, Parameter(name="NAME", help="Name of the model in the stream's `batch`.")],
    file: Annotated[Path, Parameter(name="FILE", help="The graph.")],
    /,
    *,
    examples: Annotated[int, Parameter(help="Number of examples that it was trained on, for the version's name.")] = 1,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Check an ONNX graph in a process of its own, sign it, and announce it as the newest version of a batch model.

    The model's `rows` says what the graph is given: with `vector` its input is the stream's vector feature, with
    `frame` each input is the feature of that name. Its output is the numbers of a regression, or the probabilities of
    the classes in the order of `classes` (of a binary stream False, True).

    Graphs with external data, with operators that are not ONNX's own, or with loops are refused.

    Example: millstream models import-onnx digits.py net net.onnx
    """
    from millstream.stream.load import load_stream
    from millstream.versions.decisions import announce
    from millstream.versions.import_graph import CannotImport, announcement, import_graph
    from model_store import open_store
    from model_store.onnx_graph import MOST_GRAPH_BYTES

    if examples < 1:
        raise UsageError("--examples must be at least 1")
    try:
        if file.stat().st_size > MOST_GRAPH_BYTES:
            raise UsageError(f"{file} is larger than a graph may be: at most {MOST_GRAPH_BYTES >> 20} MiB")
        graph = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    settings = where.settings()
    loaded = load_stream(stream).of_model(model)
    store = open_store(settings.models, settings.keys, sign=True)
    try:
        manifest = import_graph(store, loaded, graph, examples)
    except CannotImport as error:
        raise UsageError(str(error)) from error
    announce(settings.cluster(), settings.names(loaded.stream), announcement(store, manifest))
    found = {"version": str(manifest.version), "size_bytes": manifest.size_bytes}
    if json:
        print_json(found)
    else:
        print_fields(found)
