"""Retention rule: a pure decision about the versions to keep; `ModelStore.prune` carries it out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from model_store.versions import VersionId

_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS


@dataclass(frozen=True)
class Retention:
    """Numbers of versions to keep, beside the first and the last of each epoch of a model that learns.

    Attributes
    ----------
    last
        Number of newest versions.
    hourly, daily
        Number of hours and of days of which the newest version stays.
    latest_only
        Keep only the newest, the serving and the pinned versions, and the first of each epoch; and those of
        `for_rollback`.
    for_rollback
        Number of days of which the newest trained version of each epoch stays in any case. A rule with `Rollback()`
        sets it, so that there is a version from before the first bad window.
    """

    last: int = 20
    hourly: int = 48
    daily: int = 30
    latest_only: bool = False
    for_rollback: int = 0

    def __post_init__(self) -> None:
        if self.last < 1 or self.hourly < 0 or self.daily < 0 or self.for_rollback < 0:
            raise ValueError(f"{self}: last must be at least 1, hourly, daily and for_rollback at least 0")


@dataclass(frozen=True)
class Pruned:
    """The versions and objects that a pruning deleted."""

    versions: tuple[VersionId, ...]
    objects: int


def to_delete(
    versions: Sequence[tuple[VersionId, int]],
    retention: Retention,
    keep: Collection[VersionId],
    *,
    trained: bool = False,
) -> list[VersionId]:
    """Return the versions to delete.

    Parameters
    ----------
    versions
        Versions with their creation times (ms), oldest first.
    keep
        Versions that serve or are pinned.
    trained
        True for a model that jobs train: each job is an epoch with one version, which no rebuild begins with.

    An epoch's first version always stays, because a rebuild begins with it. So does its last one, because a failed
    deployment goes back to it. Neither holds for a model that jobs train.
    """
    stays = set(keep) | {version for version, _ in versions[-1 if retention.latest_only else -retention.last :]}
    if not trained:
        stays |= {version for version, _ in versions if version.examples == 0}
        stays |= set({version.epoch: version for version, _ in reversed(versions)}.values())
        if not retention.latest_only:
            stays |= set({version.epoch: version for version, _ in versions}.values())
    if not retention.latest_only:
        stays |= _newest_of_each(versions, _HOUR_MS, retention.hourly)
        stays |= _newest_of_each(versions, _DAY_MS, retention.daily)
    stays |= _for_rollback(versions, retention.for_rollback)
    return [version for version, _ in versions if version not in stays]


def _newest_of_each(versions: Sequence[tuple[VersionId, int]], span_ms: int, most: int) -> set[VersionId]:
    newest: dict[int, VersionId] = {}
    for version, made in versions:
        newest[made // span_ms] = version
    return {newest[span] for span in sorted(newest, reverse=True)[:most]}


def _for_rollback(versions: Sequence[tuple[VersionId, int]], days: int) -> set[VersionId]:
    """Return the newest trained version of each epoch and day: the newest of all may be of a replay, not served yet."""
    trained = [(version, made) for version, made in versions if version.examples]
    newest = {(made // _DAY_MS, version.epoch): version for version, made in trained}
    kept = sorted({day for day, _ in newest}, reverse=True)[:days]
    return {version for (day, _), version in newest.items() if day in kept}
