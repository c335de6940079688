"""Loading of a stream: its file, its model's definition, and the classes its versions may contain."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from millstream.stream.batch import BatchModel
from millstream.stream.code_object import MOST_BYTES, Code, encode
from millstream.stream.collect_sources import sources
from millstream.stream.definition_hash import definition_hash, definition_text
from millstream.stream.errors import LoadError
from millstream.stream.model_kind import WrongModel, require_estimator, require_fit
from millstream.stream.stream import Stream
from millstream.stream.stream_file import StreamFile, explain, find, is_own_module, load_module, ready_made
from model_store import restricted_pickle
from model_store.code_names import own_name
from model_store.errors import CannotPickle
from model_store.restricted_pickle import Find
from schemas.model_names import MAIN, model_id

__all__ = ["LoadError", "LoadedStream", "WrongModel", "load_stream", "ready_made"]

_IMPORTED: Final = "__millstream_imported__"


@dataclass(frozen=True)
class LoadedStream:
    """A stream with the properties found on loading.

    Attributes
    ----------
    path, module
        The file, and the name of its module: that of the file, or ``streams.NAME`` for a ready-made stream.
    definition, definition_text
        Hash of the model, the target, `learn_from`, `weight` and `on_timeout`, and the text that is hashed.
    allowed
        (module, qualified name) of the user's own classes and functions that a version may refer to.
    source
        The file's ``SOURCE``, a file or ``river:NAME`` to try the stream with, if it has one.
    others
        The stream once for each of its `models`, each loaded with that model as its model.
    code
        The code object that its versions carry: see `millstream.version_code`.
    find
        Looks up the names in `allowed`, if the stream belongs to a version and is not the process's own.
    model
        Name among the stream's `models` if this is the stream with that model, empty with its own.
    """

    stream: Stream
    path: Path
    module: str
    definition: str
    definition_text: str
    allowed: frozenset[tuple[str, str]]
    source: str | None = None
    code: bytes = field(default=b"", repr=False)
    find: Find | None = None
    model: str = ""
    others: tuple[LoadedStream, ...] = field(default=(), repr=False)

    @property
    def model_id(self) -> str:
        """Return the id of the model in the store and on the models topic."""
        return model_id(self.stream.name, self.model)

    @property
    def each_model(self) -> tuple[LoadedStream, ...]:
        """Return the stream once for each of its models, with its own first."""
        return (self, *self.others)

    def of_model(self, name: str) -> LoadedStream:
        """Return the stream with the model of this name as its model.

        Parameters
        ----------
        name
            Name among `models`; empty or `MAIN` for the stream's own model.

        Raises
        ------
        LoadError
            If the stream has no such model.
        """
        for each in self.each_model:
            if each.model == ("" if name == MAIN else name):
                return each
        known = ", ".join([MAIN, *self.stream.named])
        raise LoadError(f"{self.path}: it has no model {name!r}; its models are {known}")

    def fresh_model(self) -> Any:
        """Return a new model. Raises LoadError if `model` raises or returns an unsuitable object."""
        return _fresh_model(self.stream, self.path, self.model)


def load_stream(ref: str) -> LoadedStream:
    """Import a stream file, or a ready-made stream by name, and build its model once.

    A model that cannot be pickled is not refused here: `millstream check` reports the reason and the remedy.

    >>> load_stream("phishing").stream.label
    'is_phishing'

    Raises
    ------
    LoadError
        If there is no such file, it does not import, has no `Stream` or several, or its model does not suit the task.
    """
    file = find(ref)
    before = frozenset(sys.modules)
    module = load_module(file)
    own = partial(is_own_module, path=file.path)
    # Modules that are already imported at a second load are in the code that the first load collected.
    known = module.__dict__.setdefault(_IMPORTED, sorted(frozenset(sys.modules) - before))
    files = sources(file, known)
    first = _with_code(loaded_from(module, file, own, files), file, files)
    others = (loaded_from(module, file, own, files, name) for name in first.stream.named)
    return replace(first, others=tuple(_with_code(each, file, files) for each in others))


def _with_code(loaded: LoadedStream, file: StreamFile, files: dict[str, str]) -> LoadedStream:
    code = Code(
        module=file.module,
        files=files,
        definition=loaded.definition_text,
        contract=loaded.stream.seen,
        target=loaded.stream.target,
        model=loaded.model or msgspec.UNSET,
    )
    data = encode(code)
    if len(data) > MOST_BYTES:
        raise LoadError(
            f"{file.path}: the definition of its model has {len(data)} bytes; a version may carry {MOST_BYTES}. Keep "
            "large tables out of what the model's own code uses"
        )
    return replace(loaded, code=data)


def loaded_from(
    module: ModuleType,
    file: StreamFile,
    own: Callable[[str], bool],
    files: Mapping[str, str],
    name: str = "",
) -> LoadedStream:
    """Return the stream in a module that was imported, with one of its models.

    Parameters
    ----------
    own
        Returns whether the module of this name is the user's.
    files
        The user's source, by path below the stream file's folder.
    name
        Name of the model among `models`, empty for the stream's own.

    Raises
    ------
    LoadError
        If it has no `Stream` or several, or its model is missing or unsuitable.
    """
    whole = _only_stream(module, file)
    if name and name not in whole.named:
        raise LoadError(f"{file.path}: it has no model {name!r} in models= or batch=")
    stream = whole.of_model(name)
    model = _fresh_model(stream, file.path, name)
    try:
        text = definition_text(stream, model, own, files, file.module.replace(".", "/") + ".py")
    except Exception as error:
        why = explain(error, file.path)
        raise LoadError(f"{file.path}: the parts of its model cannot be examined: {why}") from error
    source = getattr(module, "SOURCE", None)
    return LoadedStream(
        stream=stream,
        path=file.path,
        module=file.module,
        definition=definition_hash(text),
        definition_text=text,
        allowed=_own_globals(model, own),
        source=source if isinstance(source, str) else None,
        model=name,
    )


def _only_stream(module: ModuleType, file: StreamFile) -> Stream:
    found = {id(value): (name, value) for name, value in vars(module).items() if isinstance(value, Stream)}
    if not found:
        raise LoadError(f'{file.path}: it has no Stream; write: stream = Stream(name="...", ...)')
    if len(found) > 1:
        names = ", ".join(name for name, _ in found.values())
        raise LoadError(f"{file.path}: several Streams in it ({names}); one file holds one")
    return next(iter(found.values()))[1]


def _fresh_model(stream: Stream, path: Path, name: str) -> Any:
    batch = isinstance(stream.model, BatchModel)
    parameter = f"{'batch' if batch else 'models'}[{name!r}]" if name else "model="
    try:
        model = stream.model()
    except Exception as error:
        raise LoadError(f"{parameter} raised when called: {explain(error, path)}") from error
    try:
        (require_estimator if batch else require_fit)(model, stream.task)
    except WrongModel as error:
        raise WrongModel(f"{path}: {f'{parameter}: ' if name else ''}{error}") from error
    return model


def _own_globals(model: Any, own: Callable[[str], bool]) -> frozenset[restricted_pickle.Global]:
    """Return the classes and functions in the user's file and folder that the pickle of a new model refers to."""
    try:
        named = restricted_pickle.globals_in(restricted_pickle.dumps(model))
    except CannotPickle:
        return frozenset()
    return frozenset((own_name(module), name) for module, name in named if own(module))
