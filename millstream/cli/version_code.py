"""`millstream models code`: the code that a version carries, and its difference from other code."""

from __future__ import annotations

import ast
import difflib
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from millstream.cli.models import app, known, store_of
from millstream.cli.shared_options import HERE, Json, StreamName, Where, cell, names_of, print_json
from millstream.cli.version_choice import VersionOrModel, version_meant
from runtime.exits import OK

if TYPE_CHECKING:
    from millstream.stream.code_object import Code
    from model_store import ModelStore, VersionId


@app.command
def code(
    stream: StreamName,
    version: VersionOrModel,
    /,
    *,
    diff: Annotated[
        str | None, Parameter(help="Show the changes from this version (EPOCH/EXAMPLES) or stream file to VERSION.")
    ] = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Print the code that a version carries: its stream file, and the modules beside it that the file imports.

    Does not run the code. With --diff, the exit code is 0 whether the code differs or not; --json has `differs`.
    The stream files are compared with each other, also if their names differ.

    Example: millstream models code fraud 2/81200 --diff 1/40000
    """
    settings = where.settings()
    store = store_of(settings)
    names = names_of(stream, settings, known(store, settings))
    wanted = version_meant(store, names, version)
    found = _carried(store, wanted)
    if diff is None:
        if json:
            print_json(found)
        else:
            print("\n".join(_listing(found.files)), end="")
        return OK
    other = _other(store, diff, names.stream)
    text = "".join(_differing(other, _Side(str(wanted), found.main, found.files)))
    if json:
        print_json({"from": other.label, "to": str(wanted), "differs": bool(text), "diff": text})
    else:
        same = f"version {wanted} and {_one_line(other.label)} carry the same code\n"
        print(_printable(text) or same, end="")
    return OK


class _Side(NamedTuple):
    """One side of a comparison; `main` is the path of the stream file among `files`."""

    label: str
    main: str
    files: Mapping[str, str]


def _carried(store: ModelStore, version: VersionId) -> Code:
    from consumers.model.version_files import CODE_FILE
    from millstream.stream.code_object import decode
    from model_store import NotFound

    manifest = store.manifest(version)
    if CODE_FILE not in manifest.files:
        raise NotFound(f"version {version} of {version.model} carries no code, because an older Millstream made it")
    return decode(store.read(manifest, CODE_FILE))


def _other(store: ModelStore, given: str, model: str) -> _Side:
    """Return the other side of the comparison: a version, or a stream file, which is not run.

    Raises
    ------
    LoadError
        If a file is not valid Python source; the message has the line and the error.
    """
    from millstream.stream.collect_sources import sources
    from millstream.stream.errors import LoadError
    from millstream.stream.stream_file import READY_MADE, explain, find
    from model_store import InvalidVersion, VersionId

    try:
        version = VersionId.parse(given, model)
    except InvalidVersion:
        pass
    else:
        code = _carried(store, version)
        return _Side(str(version), code.main, code.files)
    file = find(given)
    main = f"{READY_MADE}/{file.path.name}" if file.is_ready_made else file.path.name
    files = sources(file)
    for path, text in files.items():
        place = file.path.parent / path
        try:
            ast.parse(text, str(place))
        except (SyntaxError, ValueError) as error:
            raise LoadError(explain(error, place)) from error
    return _Side(given, main, files)


def _listing(files: Mapping[str, str]) -> Iterator[str]:
    for path, text in files.items():
        yield f"# --- {_one_line(path)}"
        yield _printable(text if text.endswith("\n") else f"{text}\n")


def _differing(before: _Side, after: _Side) -> Iterator[str]:
    """Yield the lines of a unified diff of all files; the two stream files are compared with each other."""
    was, now = dict(before.files), dict(after.files)
    yield from _diff(before, before.main, was.pop(before.main), after, after.main, now.pop(after.main))
    for path in sorted({*was, *now}):
        yield from _diff(before, path, was.get(path, ""), after, path, now.get(path, ""))


def _diff(before: _Side, old: str, was: str, after: _Side, new: str, now: str) -> Iterator[str]:
    names = (_one_line(f"{before.label}:{old}"), _one_line(f"{after.label}:{new}"))
    # Lines end as in Python source; `splitlines` would also split at a form feed.
    lines = (io.StringIO(was).readlines(), io.StringIO(now).readlines())
    for line in difflib.unified_diff(*lines, *names):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _printable(text: str) -> str:
    """Return source that is safe for a terminal: tabs stay, other control characters are replaced."""
    return "\t".join(map(cell, text.split("\t")))


def _one_line(name: str) -> str:
    return cell(name).replace("\n", "\N{REPLACEMENT CHARACTER}")
