"""Main module of the process that checks one ONNX graph and answers with it."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from model_store.forked_answers import ENDED, ForkEnded, answer_surviving
from model_store.onnx_graph import NoOnnx, Port, Tensor, Told, ToLoad, ToRun
from model_store.pipe_frames import own_output, read_frame, write_frame

_encode: Final = msgspec.msgpack.Encoder().encode
_read_to_load: Final = msgspec.msgpack.Decoder(ToLoad).decode
_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
_LOOPS: Final = frozenset({"Loop", "Scan", "SequenceMap"})
_MOST_NODES: Final = 200_000


class RefusedGraph(ValueError):  # noqa: N818
    """The graph may do more than to compute from its inputs, or cannot be bounded."""


def check_graph(data: bytes) -> None:
    """Raise RefusedGraph if a graph reads files, names operators of others, or loops."""
    import onnx

    model = onnx.load_model_from_string(data)
    if model.functions:
        raise RefusedGraph(f"it defines functions of its own ({model.functions[0].name!r:.60})")
    if model.training_info:
        raise RefusedGraph("it holds what is for training")
    for domain in (each.domain for each in model.opset_import):
        if domain not in _DOMAINS:
            raise RefusedGraph(f"it needs operators of {domain!r:.60}, which are not ONNX's own")
    nodes = 0
    for graph in _graphs(model.graph):
        for node in graph.node:
            nodes += 1
            if node.domain not in _DOMAINS:
                raise RefusedGraph(f"it has the operator {node.op_type!r:.60} of {node.domain!r:.60}")
            if node.op_type in _LOOPS:
                raise RefusedGraph(f"it has the operator {node.op_type}, which repeats a graph")
        if nodes > _MOST_NODES:
            raise RefusedGraph(f"it has more than {_MOST_NODES} operators")
        for tensor in _tensors(graph):
            if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise RefusedGraph(f"the values of {tensor.name!r:.60} are in another file")
    onnx.checker.check_model(model, full_check=False)


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and those inside its operators."""
    stack = [graph]
    while stack:
        found = stack.pop()
        yield found
        for node in found.node:
            for attribute in node.attribute:
                stack += [attribute.g] if attribute.HasField("g") else []
                stack += attribute.graphs


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for sparse in (
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
                *attribute.sparse_tensors,
            ):
                yield from (sparse.values, sparse.indices)


def _limit(most_memory: int) -> None:
    """Limit this process: it computes, and writes no file."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = most_memory if hard == resource.RLIM_INFINITY else min(most_memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir("/")


def _session(data: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _ports(several: Any) -> list[Port]:
    return [
        Port(each.name, each.type, [size if isinstance(size, int) else None for size in each.shape]) for each in several
    ]


def _loaded(request: ToLoad) -> tuple[Any, Told]:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        return None, Told(raised="NoOnnx", message=str(NoOnnx()))
    _limit(request.most_memory)
    try:
        check_graph(request.graph)
        session = _session(request.graph)
        return session, Told(_ports(session.get_inputs()), _ports(session.get_outputs()))
    except Exception as error:  # noqa: BLE001 - the asking process raises it again
        return None, Told(raised=type(error).__name__, message=f"the graph is refused: {error}"[:2000])


def _answer(session: Any, names: list[str], tensors: list[Tensor]) -> bytes:
    try:
        found = session.run(None, {each.name: each.array() for each in tensors})
        return _encode(Told(tensors=[Tensor.of(name, each) for name, each in zip(names, found, strict=True)]))
    except Exception as error:  # noqa: BLE001 - the asking process raises it again
        return _encode(Told(raised=type(error).__name__, message=f"{type(error).__name__}: {error}"[:2000]))


def _answer_in_forks(session: Any, names: list[str], tensors: list[Tensor]) -> bytes:
    try:
        return answer_surviving(lambda: _answer(session, names, tensors))
    except ForkEnded as ended:
        return _encode(Told(raised=ENDED, message=f"the graph's process ends at this input, {ended}"))


def main() -> int:
    """Check and load the graph in the first frame, and answer until the pipe is closed."""
    source, sink = sys.stdin.buffer, own_output()
    session, told = _loaded(_read_to_load(read_frame(source)))
    write_frame(sink, _encode(told))
    if session is None:
        return 1
    names = [each.name for each in session.get_outputs()]
    decoder = msgspec.msgpack.Decoder(ToRun)
    while True:
        try:
            asked = decoder.decode(read_frame(source))
        except EOFError:
            return 0
        answer = _answer_in_forks if asked.forked else _answer
        write_frame(sink, answer(session, names, asked.tensors))


if __name__ == "__main__":
    sys.exit(main())
