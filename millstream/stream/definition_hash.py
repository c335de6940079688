"""Definition of a stream's model, as text that can be compared, and the hash of that text.

The same file gives the same text in every process and on every day. A comment or a reformatted line
changes nothing; any parameter, step, or line of a user's own code does.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from millstream.stream import source_slice
from millstream.stream.batch import BatchModel
from millstream.stream.model_parameters import own_names, walk
from millstream.stream.stream import Stream

_LONG: Final = 60
_OF_TRAINING: Final = (
    "rows",
    "search",
    "candidates",
    "folds",
    "score",
    "seed",
    "most",
    "test",
    "final",
    "warm_start",
    "onnx",
)
"""Parameters of a batch model on which a training depends. The range of the log is chosen anew by each job."""


def definition_text(stream: Stream, model: Any, own: Callable[[str], bool], files: Mapping[str, str], main: str) -> str:
    """Return one line for each part of the definition, `path = description`.

    Parameters
    ----------
    model
        A new model, as `stream.model` builds it.
    own
        Returns whether the module of this name is the user's code.
    files, main
        The user's source by path, and the path of the stream file.
    """
    return "\n".join(_lines(stream, model, own, files, main)) + "\n"


def _lines(
    stream: Stream, model: Any, own: Callable[[str], bool], files: Mapping[str, str], main: str
) -> Iterator[str]:
    for name, value in sorted(msgspec.to_builtins(stream.target).items()):
        yield f"target.{name} = {value!r}"
    yield f"learn_from = {stream.learn_from!r}"
    yield f"on_timeout = {stream.labels.on_timeout!r}"
    weight = stream.weight
    if isinstance(weight, Mapping):
        # The order of the classes has no meaning.
        weight = dict(sorted(weight.items(), key=lambda item: repr(item[0])))
    # Definitions of streams without it are as they were.
    prepare = () if stream.prepare is None else (("prepare", stream.prepare),)
    for path, value in (("weight", weight), *prepare, ("model", model)):
        parts = list(walk(value, path, own))
        yield from (f"{part.path} = {part.text}" for part in parts)
        yield from (f"{path}.{line}" for line in source_slice.lines(files, main, own_names(parts, own)))
    if isinstance(stream.model, BatchModel):
        for name in _OF_TRAINING:
            parts = list(walk(getattr(stream.model, name), f"training.{name}", own))
            yield from (f"{part.path} = {part.text}" for part in parts)


def model_lines(text: str) -> list[str]:
    """Return the lines of a definition about the computation of answers; the others are about learning."""
    return [line for line in text.splitlines() if line.startswith("model")]


def prepare_lines(text: str) -> list[str]:
    """Return the lines of a definition about what is made of an event before the contract."""
    return [line for line in text.splitlines() if line.startswith("prepare")]


def definition_hash(text: str) -> str:
    """Return the hash for the manifest of a version."""
    return hashlib.sha256(text.encode()).hexdigest()


def difference(before: str, after: str) -> str:
    """Return the lines that differ between two definitions, with - for `before` and + for `after`.

    >>> difference("l2 = 0.0", "l2 = 0.1").splitlines()
    ['- l2 = 0.0', '+ l2 = 0.1']
    """
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return "\n".join(line for line in lines if line.startswith(("- ", "+ ")))


def changes(before: str, after: str) -> list[str]:
    """Return the differences between two definitions, a short text for each part, ordered by path.

    >>> changes("model.l2 = 0.0", "model.l2 = 0.1")
    ['model.l2: 0.0 → 0.1']
    """
    old, new = (_by_path(text) for text in (before, after))
    return [
        f"{path}: {_short(old.get(path))} → {_short(new.get(path))}"
        for path in dict.fromkeys((*old, *new))
        if old.get(path) != new.get(path)
    ]


def differing_values(before: str, after: str) -> list[str]:
    """Return the differences in the parts that both definitions have, in the form of `changes`.

    A later release of Millstream may include more parts of the same code.
    """
    old, new = (_by_path(text) for text in (before, after))
    both = [path for path in old if path in new]
    return changes(*("\n".join(f"{path} = {each[path]}" for path in both) for each in (old, new)))


def _by_path(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        path, _, value = line.partition(" = ")
        found[path] = f"{found[path]}; {value}" if path in found else value
    return found


def _short(value: str | None) -> str:
    if value is None:
        return "(nothing)"
    return value if len(value) <= _LONG else value[: _LONG - 1] + "…"
