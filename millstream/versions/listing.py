"""Versions in the store as `millstream models list` and `show`, and the console, give them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from consumers.model.version_files import CODE_FILE
from millstream.status.group_metadata import recalled
from millstream.status.report import served
from millstream.status.snapshot import Observer
from model_store import Manifest, ModelStore, NotFound, VersionId, VersionRefused
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import KafkaError

if TYPE_CHECKING:
    from schemas.topics import Names


@dataclass(frozen=True)
class KnownVersion:
    """A version whose manifest can be read."""

    manifest: Manifest
    pinned: bool


@dataclass(frozen=True)
class RefusedVersion:
    """A version that must not be loaded, and the reason."""

    version: str
    why: str


def versions(store: ModelStore, model: str) -> Iterator[KnownVersion | RefusedVersion]:
    """Yield the versions, oldest first; an invalid one is yielded as refused, and does not hide others."""
    pinned = store.pinned(model)
    for version in store.versions(model):
        try:
            yield KnownVersion(store.manifest(version), version in pinned)
        except NotFound:
            continue  # retention deleted it in the meantime
        except VersionRefused as error:
            yield RefusedVersion(str(version), str(error))


def find(store: ModelStore, version: VersionId, where: str) -> KnownVersion:
    """Return one version.

    Parameters
    ----------
    where
        Address of the store, for messages.

    Raises
    ------
    NotFound
        If there is no such version.
    VersionRefused
        If it must not be loaded.
    """
    there = store.versions(version.model)
    if not there:
        raise NotFound(f"there are no versions of {version.model} in {where}: the learner writes the first")
    if version not in there:
        raise NotFound(f"there is no version {version} of {version.model}; the newest is {there[-1]}")
    return KnownVersion(store.manifest(version), version in store.pinned(version.model))


def row(each: KnownVersion | RefusedVersion, serving: str | None) -> dict[str, Any]:
    """Return a version for JSON: its manifest, full name, size and code, and whether it is served."""
    if isinstance(each, RefusedVersion):
        return {"version": each.version, "refused": each.why}
    manifest = each.manifest
    fields = msgspec.to_builtins(manifest)
    return {
        **fields,
        "version": str(manifest.version),
        "model": manifest.version.model,
        "epoch": manifest.version.epoch,
        "parent": None if manifest.parent is None else str(manifest.parent),
        "size_bytes": manifest.size_bytes,
        "code": None if CODE_FILE not in manifest.files else manifest.files[CODE_FILE].sha256[:12],
        "serving": None if serving is None else str(manifest.version) == serving,
        "pinned": each.pinned,
    }


def now_served(cluster: Callable[[], Cluster], names: Names) -> str | None:
    """Return the served version, `None` if no broker answers."""
    try:
        found = cluster()
        with Observer(found, recalled(found, names)) as observer:
            return served(observer.look()).served
    except (NoBroker, KafkaError):
        return None
