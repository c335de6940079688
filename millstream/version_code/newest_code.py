"""A stream by its mere name: as the code of its newest version defines it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from consumers.model.checkpoints import REBUILD, REBUILD_START
from consumers.model.version_files import CODE_FILE
from millstream.stream.code_object import decode
from millstream.version_code.choice import run_code
from model_store import NotFound, VersionRefused
from schemas.model_names import stream_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from millstream.stream.load import LoadedStream
    from model_store import Manifest, ModelStore


def stream_of_newest(store: ModelStore, name: str, say: Callable[[str], None]) -> LoadedStream | None:
    """Return the stream that the newest version of `name` was made by; `None` if no version carries its code.

    Versions of its other models count only if there is none of its own model, as where a batch model alone serves.
    The signature is checked before any of the code runs. A rebuilt version counts only if there is no other, because
    its code may be older.

    Raises
    ------
    Refused
        If the code does not run.
    """
    found = [_newest(store, model) for model in (name, *(each for each in store.models(name) if each != name))]
    manifest = next(filter(None, found), None)
    return None if manifest is None else _run(store, manifest, say)


def _newest(store: ModelStore, model: str) -> Manifest | None:
    """Return the newest version of a model that carries its code."""
    rebuilt: Manifest | None = None
    for version in reversed(store.versions(model)):
        try:
            manifest = store.manifest(version)
        except (VersionRefused, NotFound):
            continue
        if CODE_FILE not in manifest.files:
            continue
        if manifest.reason not in (REBUILD, REBUILD_START):
            return manifest
        rebuilt = rebuilt or manifest
    return rebuilt


def _run(store: ModelStore, manifest: Manifest, say: Callable[[str], None]) -> LoadedStream:
    say(f"{stream_of(manifest.version.model)}: as version {manifest.version} carries it, for no file is named")
    # Of another model the code says that this one is meant; here the stream is, with its own model.
    return run_code(msgspec.structs.replace(decode(store.read(manifest, CODE_FILE)), model=msgspec.UNSET))
