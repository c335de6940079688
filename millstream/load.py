"""From what a user names to the stream, its model's definition, and what its versions may hold."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from millstream.definition import definition_hash, definition_text
from millstream.load_error import LoadError
from millstream.model_kind import WrongModel, require_fit
from millstream.stream import Stream
from millstream.stream_file import StreamFile, explain, find, is_own_module, load_module, ready_made
from model_store import restricted
from model_store.errors import CannotPickle

__all__ = ["LoadError", "LoadedStream", "WrongModel", "load_stream", "ready_made"]


@dataclass(frozen=True)
class LoadedStream:
    """A stream and what was found out about it on loading.

    Attributes
    ----------
    path, module
        The file, and the name its module has: that of the file, or ``streams.NAME`` for a ready-made one.
    definition, definition_text
        Of the model, the target, `learn_from`, `weight` and `on_timeout`: a hash, and the text it is of.
    allowed
        (module, qualified name) of the user's own classes and functions that a version may name.
    source
        The file's ``SOURCE``, a file or ``river:NAME`` to try the stream with, if it has one.
    """

    stream: Stream
    path: Path
    module: str
    definition: str
    definition_text: str
    allowed: frozenset[tuple[str, str]]
    source: str | None = None

    def fresh_model(self) -> Any:
        """Return a new model of a kind that fits. LoadError where `model` raises or returns something else."""
        return _fresh_model(self.stream, self.path)


def load_stream(ref: str) -> LoadedStream:
    """Import a stream file, or a ready-made stream by name, and build its model once.

    A model that cannot be pickled is not refused here: `millstream check` says why, and the way out.

    >>> load_stream("phishing").stream.label
    'is_phishing'

    Raises
    ------
    LoadError
        Where there is no such file, it does not import, has no `Stream` or several, or its model is none
        that the task can use.
    """
    file = find(ref)
    module = load_module(file)
    stream = _only_stream(module, file)
    model = _fresh_model(stream, file.path)
    own = partial(is_own_module, path=file.path)
    text = definition_text(stream, model, own)
    source = getattr(module, "SOURCE", None)
    return LoadedStream(
        stream=stream,
        path=file.path,
        module=file.module,
        definition=definition_hash(text),
        definition_text=text,
        allowed=_own_globals(model, file),
        source=source if isinstance(source, str) else None,
    )


def _only_stream(module: ModuleType, file: StreamFile) -> Stream:
    found = {id(value): (name, value) for name, value in vars(module).items() if isinstance(value, Stream)}
    if not found:
        raise LoadError(f'{file.path}: there is no Stream in it; write: stream = Stream(name="...", ...)')
    if len(found) > 1:
        names = ", ".join(name for name, _ in found.values())
        raise LoadError(f"{file.path}: several Streams in it ({names}); one file holds one")
    return next(iter(found.values()))[1]


def _fresh_model(stream: Stream, path: Path) -> Any:
    try:
        model = stream.model()
    except Exception as error:
        raise LoadError(f"model= raised when called: {explain(error, path)}") from error
    try:
        require_fit(model, stream.task)
    except WrongModel as error:
        raise WrongModel(f"{path}: {error}") from error
    return model


def _own_globals(model: Any, file: StreamFile) -> frozenset[restricted.Global]:
    """Return what the pickle of a fresh model names in the user's own file and folder, and nothing else."""
    try:
        named = restricted.globals_in(restricted.dumps(model))
    except CannotPickle:
        return frozenset()
    return frozenset((module, name) for module, name in named if is_own_module(module, file.path))
