"""A stream by its mere name: as the code of its newest version defines it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.model.checkpoints import REBUILD, REBUILD_START
from consumers.model.version_files import CODE_FILE
from millstream.stream.code_object import decode
from millstream.version_code.choice import run_code
from model_store import NotFound, VersionRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream.stream.load import LoadedStream
    from model_store import Manifest, ModelStore


def stream_of_newest(store: ModelStore, name: str, say: Callable[[str], None]) -> LoadedStream | None:
    """Return the stream that the newest version of `name` was made by; `None` if no version carries its code.

    The signature is checked before any of the code runs. A rebuilt version counts only if there is no other, because
    its code may be older.

    Raises
    ------
    Refused
        If the code does not run.
    """
    rebuilt: Manifest | None = None
    for version in reversed(store.versions(name)):
        try:
            manifest = store.manifest(version)
        except (VersionRefused, NotFound):
            continue
        if CODE_FILE not in manifest.files:
            continue
        if manifest.reason not in (REBUILD, REBUILD_START):
            return _run(store, manifest, say)
        rebuilt = rebuilt or manifest
    return None if rebuilt is None else _run(store, rebuilt, say)


def _run(store: ModelStore, manifest: Manifest, say: Callable[[str], None]) -> LoadedStream:
    say(f"{manifest.version.model}: as version {manifest.version} carries it, for no file is named")
    return run_code(decode(store.read(manifest, CODE_FILE)))
