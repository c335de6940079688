"""Usage of signing keys: the versions that each key signed, for every stream known on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from model_store import ModelStore, NotFound, StoreError, VersionId, VersionRefused, folder_of, is_object_store
from schemas.topics import NAME

if TYPE_CHECKING:
    from millstream.config.settings import Settings


@dataclass
class Signed:
    """Versions of one stream, oldest first."""

    stream: str
    versions: list[VersionId] = field(default_factory=list)

    def __str__(self) -> str:
        first, last = self.versions[0], self.versions[-1]
        return f"{self.stream} {first}" if first == last else f"{self.stream} {first} to {last} ({len(self.versions)})"


@dataclass(frozen=True)
class Loss:
    """Consequences of revoking a key for one stream.

    Attributes
    ----------
    unusable
        Versions that the key signed and that can no longer be loaded.
    pinned
        The pinned version among them, if any: newly started predictors would serve nothing.
    stays
        The newest version that can still be loaded, `None` if there is none.
    """

    stream: str
    unusable: list[VersionId]
    pinned: list[VersionId]
    stays: VersionId | None

    def told(self) -> str:
        """Return a line that describes the consequences and the next step."""
        first, last = self.unusable[0], self.unusable[-1]
        which = f"version {first}" if first == last else f"{len(self.unusable)} versions ({first} to {last})"
        line = f"{self.stream}: {which} cannot be loaded any more"
        if self.pinned:
            line += f"; {self.pinned[-1]} is pinned, so predictors that start serve nothing until `millstream models "
            line += f"unpin {self.stream}`"
        if self.stays is None:
            return (
                f"{line}; none stays: start the learner once with `millstream learner {self.stream} --new-epoch replay`"
            )
        return f"{line}; the newest that stays is {self.stays}"


def streams_here(settings: Settings) -> list[str]:
    """Return the names of streams with versions or state on this machine, and of the ready-made ones."""
    from millstream.stream.stream_file import ready_made

    found = set(ready_made())
    state, prefix = settings.home / "state", settings.prefix
    found |= {name.removeprefix(prefix) for name in _folders(state) if name.startswith(prefix)}
    if not is_object_store(settings.models):
        found |= _folders(folder_of(settings.models))
    return sorted(name for name in found if NAME.fullmatch(name))


def _folders(place: Path) -> set[str]:
    try:
        return {entry.name for entry in place.iterdir() if entry.is_dir()}
    except OSError:
        return set()


def signed_by_key(store: ModelStore, streams: Iterable[str]) -> dict[str, list[Signed]]:
    """Return the versions that each key signed, by key id; versions without a valid signature are left out."""
    found: dict[str, dict[str, Signed]] = {}
    for stream in streams:
        for version in store.versions(stream):
            try:
                key_id = store.signed_by(version)
            except (NotFound, VersionRefused):
                continue
            found.setdefault(key_id, {}).setdefault(stream, Signed(stream)).versions.append(version)
    return {key_id: list(signed.values()) for key_id, signed in found.items()}


def losses(store: ModelStore, signed: Iterable[Signed]) -> list[Loss]:
    """Return the consequences for each stream if the versions in `signed` can no longer be loaded."""
    return [
        Loss(
            each.stream,
            each.versions,
            sorted(store.pinned(each.stream) & set(each.versions)),
            _newest_but(store, each),
        )
        for each in signed
    ]


def _newest_but(store: ModelStore, signed: Signed) -> VersionId | None:
    for version in reversed(store.versions(signed.stream)):
        if version in signed.versions:
            continue
        try:
            store.manifest(version)
        except StoreError:
            continue
        return version
    return None
