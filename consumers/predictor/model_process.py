"""Separate process for a large version, so that loading and freeing the model never delays answers.

Unpickling 300 MB blocks the interpreter for periods that pauses between pieces cannot shorten: a dictionary of millions
of keys grows, the garbage collector scans new objects, and the old version's millions of objects are freed. A process
has its own interpreter, and its end frees everything at once. The two exchange features and plain values as
MessagePack, never as a pickle.
"""

from __future__ import annotations

import subprocess
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from typing import IO, Any, Final

import msgspec

from consumers.model.river_model import Answer, ModelError, RiverModel, plain_value
from model_store import StoreError, StoreUnavailable, VersionRefused
from model_store.pipe_frames import kill, read_frame, write_frame
from runtime.exits import Doubt
from schemas.events import Features, Scalar


class _Said(msgspec.Struct, frozen=True, array_like=True):
    """Answer of the process: a value with probabilities in their order, or an exception's kind and message."""

    value: bool | int | float | str | None = None
    probabilities: list[tuple[bool | int | float | str, float]] | None = None
    raised: str = ""
    message: str = ""


_encoder: Final = msgspec.msgpack.Encoder()
_answers: Final = msgspec.msgpack.Decoder(list[_Said])


class RaisedThere(Exception):  # noqa: N818
    """An exception that a model raised in its process; the subclass has the name of the original class."""


class VersionProcess:
    """A `RiverModel` whose model runs in a separate process, which ends with this object.

    Parameters
    ----------
    command, environment
        Start a process that reads `request` as its first frame and then calls `serve`.
    seconds
        Time limit for loading; after it the process is ended.

    Raises
    ------
    VersionRefused, StoreUnavailable, ModelError
        Raised by loading in the process; StoreUnavailable also if loading took too long.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], request: bytes, seconds: float) -> None:
        self.model: Any = None
        self._ahead: deque[tuple[Features, _Said]] = deque()
        self._process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._end = weakref.finalize(self, _end, self._process)
        said = self._loaded(request, seconds)
        if said.raised:
            self._end()
            raise _REASONS.get(said.raised, ModelError)(said.message)

    def _loaded(self, request: bytes, seconds: float) -> _Said:
        """Load the version in the process and return the result. Raises StoreUnavailable if no answer comes."""
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        # A read from a pipe has no time limit, so the writer is ended when the time is up.
        overdue = threading.Timer(seconds, end)
        overdue.daemon = True
        overdue.start()
        try:
            (said,) = self._asked(request)
        except (OSError, EOFError) as error:
            code = self._process.wait()
            self._end()
            if late.is_set():
                raise StoreUnavailable(f"its process had not loaded it after {seconds:g} s and was ended") from error
            raise StoreUnavailable(f"the process that was to load it has ended ({code}): is there memory?") from error
        finally:
            overdue.cancel()
        return said

    def ahead(self, several: Sequence[Features]) -> None:
        """Send several events at once: on a busy machine the round trip costs more than the answers."""
        self._ahead.clear()
        if several:
            self._ahead.extend(zip(several, self._answered(several), strict=True))

    def predict(self, features: Features) -> Answer:
        """Return the model's answer. Raises Doubt if its process is gone."""
        if not self._ahead or self._ahead[0][0] is not features:
            self.ahead([features])
        said = self._ahead.popleft()[1]
        if said.raised:
            raise _raised(said.raised)(said.message)
        return Answer(said.value, None if said.probabilities is None else dict(said.probabilities))

    def _answered(self, several: Sequence[Features]) -> list[_Said]:
        try:
            return self._asked(_encoder.encode(several))
        except (OSError, EOFError) as error:
            code = self._process.poll()
            raise Doubt(f"the process that answers has ended ({code}): restarting") from error

    def decide(self, features: Features) -> Answer:
        return Answer(self.predict(features).value, None)

    def as_said(self, features: Features) -> Answer:
        raise NotImplementedError("the fingerprint of a version is taken where it is learned")

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        raise NotImplementedError("a version that serves does not learn")

    def close(self) -> None:
        """End the process."""
        self._end()

    def _asked(self, frame: bytes) -> list[_Said]:
        process = self._process
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        write_frame(process.stdin, frame)
        return _answers.decode(read_frame(process.stdout))


_REASONS: Final[Mapping[str, type[Exception]]] = {
    "VersionRefused": VersionRefused,
    "StoreUnavailable": StoreUnavailable,
    "StoreError": StoreError,
}


@cache
def _raised(name: str) -> type[Exception]:
    return ModelError if name == "ModelError" else type(name, (RaisedThere,), {})


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process without waiting until the system has reclaimed its memory."""
    kill(process)
    try:
        threading.Thread(target=process.wait, name="version-process", daemon=True).start()
    except RuntimeError:  # no thread can start while the interpreter shuts down
        process.wait()


# --- in the separate process -----------------------------------------------------------------------


def serve(model: RiverModel, source: IO[bytes], sink: IO[bytes]) -> None:
    """Answer each frame of events with a frame of as many answers, until the input ends."""
    decoder = msgspec.msgpack.Decoder()
    while True:
        try:
            several = decoder.decode(read_frame(source))
        except EOFError:
            return
        model.ahead(several)
        write_frame(sink, _encoder.encode([_answer(model, features) for features in several]))


def _answer(model: RiverModel, features: Features) -> _Said:
    try:
        answer = model.predict(features)
    except Exception as error:  # noqa: BLE001 - the asking process raises it again
        return _Said(raised=type(error).__name__, message=str(error))
    shares = answer.probabilities
    pairs: Any = None if shares is None else [(plain_value(key), float(share)) for key, share in shares.items()]
    return _Said(plain_value(answer.value), pairs)


def say_ready(sink: IO[bytes]) -> None:
    """Report that the version is loaded and events may be sent."""
    write_frame(sink, _encoder.encode([_Said()]))


def say_raised(sink: IO[bytes], kind: str, message: str) -> None:
    """Report an exception to the asking process."""
    write_frame(sink, _encoder.encode([_Said(raised=kind, message=message)]))


def reason_of(error: BaseException) -> str:
    """Return the kind of a loading error, so that the asking process can raise the same kind."""
    for name, kind in _REASONS.items():
        if isinstance(error, kind):
            return name
    return "ModelError"
