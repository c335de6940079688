"""Main module of the process that loads one large version and predicts with it, for a predictor.

It runs as `python -m millstream.processes.model_process_main`, and exchanges frames over its pipes.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from consumers.model.river_model import RiverModel
from consumers.model.version_files import CODE_FILE
from consumers.model.version_loader import load_face, model_bytes
from consumers.model.version_runtime import RunWith, try_out
from consumers.predictor.model_process import VersionProcess, reason_of, say_raised, say_ready, serve
from model_store import Manifest, VersionId, VersionRefused, open_store
from model_store.pipe_frames import own_output, read_frame
from runtime.exits import FAILED, OK
from schemas.model_names import name_of
from schemas.target import Task

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream

_LOADING_NICENESS: Final = 10
# Of what scikit-learn computes with. A sum over threads differs in its last bit, and they take processors from others.
ONE_THREAD: Final = MappingProxyType({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
LEAST_SECONDS: Final = 60.0
_BYTES_A_SECOND: Final = 4 << 20  # a tenth of the speed of a busy machine


class Request(msgspec.Struct, frozen=True):
    """The version to load, and its store.

    Attributes
    ----------
    stream
        The stream file, if a version may use its classes; otherwise empty, and it is not imported.
    definition
        Definition hash of the requesting process: the file may have changed since that process read it.
    carried
        True if the version runs with the code that it carries.
    """

    store: str
    keys: str
    model: str
    epoch: int
    examples: int
    sha256: str | None
    task: Task
    stream: str
    definition: str = ""
    carried: bool = False


_read_request: Final = msgspec.msgpack.Decoder(Request).decode


def starter(
    loaded: LoadedStream, settings: Settings, choose: Callable[[Manifest], RunWith]
) -> Callable[[Manifest, str | None], RiverModel]:
    """Return a function that starts a process for a version of any of the stream's models.

    Parameters
    ----------
    choose
        Returns the code that the version runs with.
    """
    models = {each.model_id: each for each in loaded.each_model}

    def start(manifest: Manifest, sha256: str | None) -> RiverModel:
        version = manifest.version
        own = models.get(version.model, loaded)
        ready_made = own.module.startswith("streams.") if own.allowed else False
        stream = own.module.removeprefix("streams.") if ready_made else str(own.path) if own.allowed else ""
        request = Request(
            settings.models,
            str(settings.keys),
            version.model,
            version.epoch,
            version.examples,
            sha256,
            own.stream.task,
            stream,
            own.definition,
            # A stream that is known by its name alone is the code of a version, not a file to be loaded there.
            choose(manifest).carried or own.find is not None,
        )
        command = [sys.executable, "-P", "-m", "millstream.processes.model_process_main"]
        # As in every process that predicts, so that sums over a set are computed in the same order.
        environment = {**os.environ, "PYTHONHASHSEED": "0", **ONE_THREAD}
        seconds = LEAST_SECONDS + model_bytes(manifest) / _BYTES_A_SECOND
        return VersionProcess(command, environment, msgspec.msgpack.encode(request), seconds)

    return start


def load(request: Request) -> RiverModel:
    """Return the version's model, after all checks and its own probe."""
    store = open_store(request.store, Path(request.keys), sign=False)
    manifest = store.manifest(VersionId(request.model, request.epoch, request.examples), sha256=request.sha256)
    run_with = RunWith()
    if request.carried:
        from millstream.stream.code_object import decode
        from millstream.version_code.choice import run_code

        ran = run_code(decode(store.read(manifest, CODE_FILE)))
        run_with = RunWith(ran.allowed, ran.find)
    elif request.stream:
        from millstream.stream.load import load_stream

        own = load_stream(request.stream).of_model(name_of(request.model))
        if own.definition != request.definition:
            raise VersionRefused(f"{own.path.name} has changed since this process read it: start it again")
        run_with = RunWith(own.allowed)
    face = load_face(store, manifest, run_with, request.task)
    try_out(face, manifest)
    return face


def main() -> int:
    """Load the version that the first frame requests, send the result, and answer until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the requesting process ends this one
    source, sink = sys.stdin.buffer, own_output()
    request = _read_request(read_frame(source))
    done: list[RiverModel | BaseException] = []
    loader = threading.Thread(target=_load_into, args=(request, done))
    loader.start()
    loader.join()
    loaded: Any = done[0]
    if isinstance(loaded, BaseException):
        kind = reason_of(loaded)
        say_raised(sink, kind, str(loaded) if kind != "ModelError" else f"{type(loaded).__name__}: {loaded}")
        return FAILED
    gc.freeze()  # the model does not change any more, so no collection needs to examine it
    say_ready(sink)
    serve(loaded, source, sink)
    os._exit(OK)  # without freeing millions of objects one by one


def _load_into(request: Request, done: list[RiverModel | BaseException]) -> None:
    """Load with low priority, in a thread: niceness belongs to a thread, so the answering thread keeps its own."""
    try:
        thread = threading.get_native_id()
        # Only the superuser may raise a priority.
        os.setpriority(os.PRIO_PROCESS, thread, max(_LOADING_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
        done.append(load(request))
    except BaseException as error:  # noqa: BLE001 - any error is sent to the requesting process
        done.append(error)


if __name__ == "__main__":
    sys.exit(main())
