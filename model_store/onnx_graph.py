"""Graphs in ONNX: what is refused, and a process of its own that answers with one.

A graph comes from a converter or from elsewhere. It is parsed, checked and run only in its own process, which has
neither keys nor secrets, may not write files, and has a limit of memory. The two exchange arrays as MessagePack.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from model_store.errors import Damaged, StoreError, VersionRefused
from model_store.forked_answers import CAREFUL_SECONDS
from model_store.pipe_frames import ended, kill, kill_group, read_frame, write_frame
from runtime.exits import Doubt

MOST_GRAPH_BYTES: Final = 256 << 20
MOST_MEMORY: Final = 4 << 30
_LOADING_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 60.0
_KEPT: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")


class NoOnnx(StoreError):  # noqa: N818
    """onnx or onnxruntime is not installed here: `pip install millstream[onnx]`."""

    def __init__(self) -> None:
        super().__init__("graphs are run by onnxruntime, which is not installed: pip install 'millstream[onnx]'")


class GraphFailed(ValueError):  # noqa: N818
    """The graph does not take these values."""


class Port(msgspec.Struct, frozen=True, array_like=True):
    """An input or output of a graph: `kind` is as onnxruntime names it, a free dimension is `None`."""

    name: str
    kind: str
    shape: list[int | None]


class Tensor(msgspec.Struct, frozen=True, array_like=True):
    """An array on the pipe: of numbers as their bytes, of texts as a list."""

    name: str
    dtype: str
    shape: list[int]
    data: bytes
    texts: list[str] | None = None

    @classmethod
    def of(cls, name: str, array: Any) -> Tensor:
        if array.dtype.kind in "OUS":
            return cls(name, "text", [*array.shape], b"", [str(each) for each in array.ravel().tolist()])
        return cls(name, array.dtype.str, [*array.shape], np.ascontiguousarray(array).tobytes())

    def array(self) -> Any:
        if self.texts is not None:
            return np.array(self.texts, dtype=object).reshape(self.shape)
        return np.frombuffer(self.data, dtype=np.dtype(self.dtype)).reshape(self.shape)


class ToLoad(msgspec.Struct, frozen=True, array_like=True):
    """First frame: the graph, and the limit of memory."""

    graph: bytes
    most_memory: int


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What the process says: the ports after loading, tensors after a call, or what was raised, with its message."""

    inputs: list[Port] = []
    outputs: list[Port] = []
    tensors: list[Tensor] = []
    raised: str = ""
    message: str = ""


class ToRun(msgspec.Struct, frozen=True, array_like=True):
    """Each further frame: the inputs of a call; `forked` if it is to be made in a fork of the process."""

    tensors: list[Tensor]
    forked: bool


class _Gone(Exception):  # noqa: N818 - says what has happened, like EOFError
    """The process has ended, or was ended because its time was up; the message says how."""


_encode: Final = msgspec.msgpack.Encoder().encode
_read_told: Final = msgspec.msgpack.Decoder(Told).decode


class GraphProcess:
    """A graph that answers in a process of its own, which ends with this object.

    Raises
    ------
    VersionRefused
        If it has external data, operators of others, loops, or is no graph.
    NoOnnx
        If onnxruntime is not installed.
    """

    def __init__(self, graph: bytes, *, most_memory: int = MOST_MEMORY) -> None:
        if len(graph) > MOST_GRAPH_BYTES:
            raise Damaged(f"the graph has {len(graph)} bytes; at most {MOST_GRAPH_BYTES}")
        self._to_load = _encode(ToLoad(graph, most_memory))
        self._careful_until = 0.0
        self._closed = False
        told = self._start()
        self.inputs, self.outputs = told.inputs, told.outputs

    def _start(self) -> Told:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment = {**kept, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "model_store.onnx_process"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self._process)
        try:
            told = self._asked(self._to_load, _LOADING_SECONDS)
        except _Gone as error:
            raise Damaged(f"the graph does not load: {error}") from error
        if told.raised:
            self._end()
            raise NoOnnx if told.raised == "NoOnnx" else Damaged(told.message)
        return told

    def run(self, tensors: Mapping[str, Any]) -> list[Any]:
        """Return the outputs for these inputs.

        Raises
        ------
        GraphFailed
            If the graph raises, or ends its process again and again.
        Doubt
            If its process has ended, or has not answered in time and was ended, and does not start again.
        """
        several = [Tensor.of(name, each) for name, each in tensors.items()]
        try:
            told = self._asked(_encode(ToRun(several, time.monotonic() < self._careful_until)), _ANSWER_SECONDS)
        except _Gone as gone:
            self._start_again(gone)
            told = self._run_again(several)
        if told.raised:
            raise GraphFailed(told.message)
        return [each.array() for each in told.tensors]

    def _start_again(self, gone: _Gone) -> None:
        if self._closed:
            raise Doubt("the process of the graph was ended with its version") from gone
        try:
            self._start()
        except VersionRefused as error:
            raise Doubt(f"the process of the graph has ended ({gone}) and does not start again: {error}") from error
        self._careful_until = time.monotonic() + CAREFUL_SECONDS

    def _run_again(self, several: list[Tensor]) -> Told:
        try:
            return self._asked(_encode(ToRun(several, forked=True)), _ANSWER_SECONDS)
        except _Gone as gone:
            raise Doubt(f"the process of the graph has ended twice ({gone})") from gone

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._end()

    def _asked(self, frame: bytes, seconds: float) -> Told:
        process = self._process
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        overdue = threading.Timer(seconds, kill_group, (process,))
        overdue.daemon = True
        overdue.start()
        try:
            write_frame(process.stdin, frame)
            return _read_told(read_frame(process.stdout))
        except (OSError, EOFError, ValueError) as error:
            code = ended(process)
            self._end()
            raise _Gone(f"exit code {code}") from error
        finally:
            overdue.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    kill(process)
    process.wait()


def require_graph(graph: bytes) -> tuple[Sequence[Port], Sequence[Port]]:
    """Return inputs and outputs of a graph that may be signed. Raises VersionRefused, NoOnnx."""
    made = GraphProcess(graph)
    try:
        return made.inputs, made.outputs
    finally:
        made.close()


__all__ = ["GraphFailed", "GraphProcess", "NoOnnx", "Port", "VersionRefused", "require_graph"]
