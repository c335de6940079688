"""`millstream models code`: the code that a version carries, and how it differs from other code."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from millstream.cli.common import HERE, Json, StreamName, Where, names_of, print_json
from millstream.cli.models import app, known, store_of
from millstream.cli.versions import VersionName, parsed

if TYPE_CHECKING:
    from millstream.version_code.code_object import Code
    from model_store import ModelStore, VersionId


@app.command
def code(
    stream: StreamName,
    version: VersionName,
    /,
    *,
    diff: Annotated[
        str | None, Parameter(help="Show what differs from there to VERSION: EPOCH/EXAMPLES, or a stream file.")
    ] = None,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Print the code that a version carries: its stream file, and the modules beside it that this imports.

    Nothing of it is run. With --diff, exit code 1 where the code differs, 0 where it does not.

    Example: millstream models code fraud 2/81200 --diff 1/40000
    """
    settings = where.settings()
    store = store_of(settings)
    name = names_of(stream, settings, known(store, settings)).stream
    found = _carried(store, parsed(version, name))
    if diff is None:
        if json:
            print_json(found)
        else:
            print("\n".join(_listing(found.files)), end="")
        return 0
    before, label = _other(store, diff, name)
    lines = list(_differing(before, found.files, label, version))
    if json:
        print_json({"from": label, "to": version, "differs": bool(lines), "diff": "".join(lines)})
    else:
        print("".join(lines) or f"version {version} and {label} carry the same code\n", end="")
    return 1 if lines else 0


def _carried(store: ModelStore, version: VersionId) -> Code:
    from consumers.standing import CODE_FILE
    from millstream.version_code.code_object import decode
    from model_store import NotFound

    manifest = store.manifest(version)
    if CODE_FILE not in manifest.files:
        raise NotFound(f"version {version} of {version.model} carries no code: it was made before versions did")
    return decode(store.read(manifest, CODE_FILE))


def _other(store: ModelStore, given: str, model: str) -> tuple[Mapping[str, str], str]:
    """Return the files to compare with, and their name: those of a version, or of a stream file, which is not run."""
    from millstream.stream_file import find
    from millstream.version_code.collect import sources
    from model_store import InvalidVersion, VersionId

    try:
        version = VersionId.parse(given, model)
    except InvalidVersion:
        return sources(find(given)), given
    return _carried(store, version).files, str(version)


def _listing(files: Mapping[str, str]) -> Iterator[str]:
    for path, text in files.items():
        yield f"# --- {path}"
        yield text if text.endswith("\n") else f"{text}\n"


def _differing(before: Mapping[str, str], after: Mapping[str, str], old: str, new: str) -> Iterator[str]:
    """Yield a unified diff of all files, each line ended."""
    for path in sorted({*before, *after}):
        was, now = (files.get(path, "").splitlines(keepends=True) for files in (before, after))
        for line in difflib.unified_diff(was, now, f"{old}:{path}", f"{new}:{path}"):
            yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
