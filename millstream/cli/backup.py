"""`millstream backup` and `restore`: a whole stream, without its keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from millstream.cli.progress import Bar
from millstream.cli.shared_options import (
    HERE,
    Json,
    StreamFileName,
    StreamName,
    Where,
    filling_in,
    full_names,
    load_file,
    print_json,
)

if TYPE_CHECKING:
    from model_store import Backend


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(backup)
    parent.command(restore)


def backup(
    stream: StreamName,
    to: Annotated[str, Parameter(name="TO", help="Empty folder, or address in an object store, such as s3://….")],
    /,
    *,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Copy a stream's versions, decisions, examples, windows, alerts and jobs. Its roles may keep running.

    A backup contains neither the keys (keep a copy of MILLSTREAM_HOME/keys elsewhere) nor events and labels that are
    not joined yet. After an interruption, the same command continues.

    Example: millstream backup phishing /backups/phishing-today
    """
    import sys

    from millstream.backup.backup import make
    from millstream.cli.models import store_of
    from model_store import open_backend

    settings = where.settings()
    cluster = settings.cluster()
    names = full_names(stream, settings, cluster)
    with Bar("offsets") as bar, filling_in(stream):
        say = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
        made = make(cluster, names, store_of(settings), open_backend(to), say, bar.show)
    found = made.backup
    if json:
        print_json(
            {
                "stream": names.stream,
                "to": to,
                "versions": found.versions,
                "refused": made.refused,
                "examples": found.examples.records,
                "decisions": found.decisions.records,
                "windows": found.windows,
                "alerts": found.alert_records,
                "jobs": found.job_records,
            }
        )
        return
    print(
        f"{to} holds {found.versions} versions, {found.examples.records:,} examples, "
        f"{found.decisions.records} decisions, {found.windows:,} windows, {found.alert_records:,} records of alerts "
        f"and {found.job_records:,} of jobs of {names.stream}"
    )
    print(f"not in it, and needed to restore: the keys in {settings.keys}, and the stream file")


def restore(
    stream: StreamFileName,
    from_: Annotated[str, Parameter(name="FROM", help="Folder or address that `millstream backup` wrote.")],
    /,
    *,
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Restore a backup into an empty store and an empty cluster (or prefix), so that the stream continues.

    First copy the keys to MILLSTREAM_HOME/keys: only versions with a trusted signature are restored. After an
    interruption, the same command writes the log again from scratch.

    Example: millstream restore phishing /backups/phishing-today
    """
    from millstream.backup import restore as work
    from millstream.topics import admin
    from model_store import open_store

    settings, loaded = where.settings(), load_file(stream, "restore")
    names, found = settings.names(loaded.stream), loaded.stream
    source = _existing(from_, names.stream)
    # Checked before a key or a topic is created, so that a refusal changes nothing.
    backed_up = work.check(source, open_store(settings.models, settings.keys, sign=False), names.stream)
    store, cluster = open_store(settings.models, settings.keys, sign=True), settings.cluster()

    def create() -> None:
        made = admin.create(cluster, names, partitions=found.partitions, label_wait_ms=found.labels.wait_ms)
        admin.require(made.ours())  # external topics may be missing while the log is restored

    place = work.RestoreTarget(cluster, names, settings.state(names) / "restore", create, trains=bool(found.batch))
    jobs = backed_up.job_records if found.batch else 0
    with Bar("offsets") as bar:
        copy = work.restore(source, backed_up, store, place, bar.show)
    said = {
        "stream": names.stream,
        "versions": backed_up.versions,
        "examples": backed_up.examples.records,
        "decisions": backed_up.decisions.records,
        "windows": backed_up.windows,
        "alerts": backed_up.alert_records,
        "jobs": jobs,
        "topic_id": copy.copy,
    }
    if json:
        print_json(said)
        return
    print(
        f"{names.stream} has its {backed_up.versions} versions, {backed_up.examples.records:,} examples, "
        f"{backed_up.decisions.records} decisions, {backed_up.windows:,} windows, "
        f"{backed_up.alert_records:,} records of alerts and {jobs:,} of jobs again"
    )
    print(f"`millstream run {stream}` continues from the newest version, in a new epoch")


def _existing(address: str, stream: str) -> Backend:
    """Return the backend of a backup, without creating a missing folder."""
    from millstream.backup.backup import BackupError
    from model_store import folder_of, is_object_store, open_backend

    if not is_object_store(address):
        folder = folder_of(address)
        if not folder.is_dir():
            raise BackupError(f"there is no folder {folder}, and so no backup of {stream} in it")
    return open_backend(address)
