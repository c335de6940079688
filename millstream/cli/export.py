"""`millstream models export` and `import`: one version as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from millstream.cli.models import app, store_of
from millstream.cli.shared_options import HERE, Json, StreamName, Where, names_of, print_json
from millstream.cli.version_choice import VersionOrModel, version_meant
from millstream.cli.version_decisions import stream_name
from schemas.model_names import stream_of


@app.command
def export(
    stream: StreamName,
    version: VersionOrModel,
    /,
    *,
    to: Annotated[Path, Parameter(help="Path of the new file.")],
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Write one version, with its signature, to a file.

    Example: millstream models export phishing 1/1250 --to phishing-1-1250.tar
    """
    from model_store.version_archive import export_version

    settings = where.settings()
    store = store_of(settings)
    wanted = version_meant(store, settings.names(stream_name(stream, where)), version)
    manifest = export_version(store, wanted, to.expanduser())
    said: dict[str, Any] = {
        "stream": stream_of(wanted.model),
        "version": str(wanted),
        "file": str(to),
        "bytes": manifest.size_bytes,
    }
    if json:
        print_json(said)
    else:
        of = stream_of(wanted.model)
        print(f"{to} holds version {wanted} of {of}: `millstream models import {stream} {to}` takes it over")


@app.command(name="import")
def import_(
    stream: StreamName,
    file: Annotated[Path, Parameter(name="FILE", help="File that `millstream models export` wrote.")],
    /,
    *,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Add one version from a file to the store, if a trusted key signed it. Never overwrites a version.

    A learner that starts continues from the newest version in the store, also from an imported one.

    Example: millstream models import phishing phishing-1-1250.tar
    """
    from model_store.version_archive import import_version

    settings = where.settings()
    name = names_of(stream, settings, lambda names: True).stream
    manifest, new = import_version(store_of(settings), name, file.expanduser())
    said = {"stream": name, "version": str(manifest.version), "new": new}
    if json:
        print_json(said)
    elif new:
        print(f"version {manifest.version} of {name} is in the store: `millstream models pin {stream} "
              f"{manifest.version}` has it served")  # fmt: skip
    else:
        print(f"version {manifest.version} of {name} was in the store already, the very same")
