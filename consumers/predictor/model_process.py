"""Separate process for a large version, so that loading and freeing the model never delays answers.

Unpickling 300 MB blocks the interpreter for periods that pauses between pieces cannot shorten: a dictionary of millions
of keys grows, the garbage collector scans new objects, and the old version's millions of objects are freed. A process
has its own interpreter, and its end frees everything at once. The two exchange features and plain values as
MessagePack, never as a pickle.

A process that ends is started again, and answers in forks for a while. An event at which its forks end, too, has an
error as its answer, like one that the model refuses: otherwise it would end each process that is asked, for ever.
"""

from __future__ import annotations

import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import IO, Any, Final

import msgspec

from consumers.model.river_model import Answer, ModelError, RiverModel, plain_value
from model_store import StoreError, StoreUnavailable, VersionRefused
from model_store.forked_answers import CAREFUL_SECONDS, ENDED, ForkEnded, answer_in_fork, answer_surviving
from model_store.pipe_frames import ended, kill, kill_group, read_frame, write_frame
from runtime.exits import Doubt
from schemas.events import Features, Scalar


class _Said(msgspec.Struct, frozen=True, array_like=True):
    """Answer of the process: a value with probabilities in their order, or an exception's kind and message."""

    value: bool | int | float | str | None = None
    probabilities: list[tuple[bool | int | float | str, float]] | None = None
    raised: str = ""
    message: str = ""


class _ToAnswer(msgspec.Struct, frozen=True, array_like=True):
    """Frame of events; `forked` if they are to be answered in forks of the process."""

    events: list[Any]
    forked: bool


_GONE: Final = (OSError, EOFError, ValueError)
"""What writing to or reading from a process raises that has ended, or that another thread ends meanwhile."""
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
    say
        Prints one line for the operator.

    Raises
    ------
    VersionRefused, StoreUnavailable, ModelError
        Raised by loading in the process; StoreUnavailable also if loading took too long.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        request: bytes,
        seconds: float,
        say: Callable[[str], None] = print,
    ) -> None:
        self.model: Any = None
        self._ahead: deque[tuple[Features, _Said]] = deque()
        self._command, self._environment = command, dict(environment)
        self._request, self._seconds, self._say = request, seconds, say
        self._careful_until = 0.0
        self._closed = False
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self._process)
        said = self._loaded(self._request, self._seconds)
        if said.raised:
            self._end()
            raise _REASONS.get(said.raised, ModelError)(said.message)

    def _loaded(self, request: bytes, seconds: float) -> _Said:
        """Load the version in the process and return the result. Raises StoreUnavailable if no answer comes."""
        late = threading.Event()

        def end() -> None:
            late.set()
            kill_group(self._process)

        # A read from a pipe has no time limit, so the writer is ended when the time is up.
        overdue = threading.Timer(seconds, end)
        overdue.daemon = True
        overdue.start()
        try:
            (said,) = self._asked(request)
        except _GONE as error:
            code = ended(self._process)
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
        """Return the model's answer. Raises Doubt if its process has ended and can't be started again."""
        if not self._ahead or self._ahead[0][0] is not features:
            self.ahead([features])
        said = self._ahead.popleft()[1]
        if said.raised:
            raise _raised(said.raised)(said.message)
        return Answer(said.value, None if said.probabilities is None else dict(said.probabilities))

    def _answered(self, several: Sequence[Features]) -> list[_Said]:
        events = [*several]
        try:
            return self._asked(_encoder.encode(_ToAnswer(events, time.monotonic() < self._careful_until)))
        except _GONE:
            self._start_again()
        try:
            return self._asked(_encoder.encode(_ToAnswer(events, forked=True)))
        except _GONE as error:
            raise Doubt(f"the process that answers has ended twice ({self._process.poll()}): restarting") from error

    def _start_again(self) -> None:
        code = ended(self._process)
        self._end()
        if self._closed:
            raise Doubt("the process that answers was ended with its version")
        self._say(f"the process of a version has ended ({code}): it is started and asked again")
        try:
            self._start()
        except Exception as error:
            raise Doubt(f"the process that answers has ended ({code}) and does not start again: {error}") from error
        self._careful_until = time.monotonic() + CAREFUL_SECONDS

    def decide(self, features: Features) -> Answer:
        return Answer(self.predict(features).value, None)

    def as_said(self, features: Features) -> Answer:
        raise NotImplementedError("the fingerprint of a version is taken where it is learned")

    def learn(self, features: Features, label: Scalar | None, weight: float) -> None:
        raise NotImplementedError("a version that serves does not learn")

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._end()

    def _asked(self, frame: bytes) -> list[_Said]:
        """Send a frame and return the answers. Raises one of `_GONE` if the process is gone."""
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
    decoder = msgspec.msgpack.Decoder(_ToAnswer)
    while True:
        try:
            asked = decoder.decode(read_frame(source))
        except EOFError:
            return
        answer = _answers_in_forks if asked.forked else _answers_of
        write_frame(sink, answer(model, asked.events))


def _answers_of(model: RiverModel, events: Sequence[Features]) -> bytes:
    model.ahead(events)
    return _encoder.encode([_answer(model, features) for features in events])


def _answers_in_forks(model: RiverModel, events: Sequence[Features]) -> bytes:
    """Return the answers from a fork for all events; if it ends, from a fork for each."""
    try:
        return answer_in_fork(lambda: _answers_of(model, events))
    except ForkEnded:
        return _encoder.encode([_answer_in_forks(model, features) for features in events])


def _answer_in_forks(model: RiverModel, features: Features) -> _Said:
    try:
        return _answers.decode(answer_surviving(lambda: _answers_of(model, [features])))[0]
    except ForkEnded as ended:
        return _Said(raised=ENDED, message=f"the model's process ends at this event, {ended}")


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
