"""The version that a rollback goes to: what served before what serves now."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Final, NamedTuple

from consumers.model.checkpoints import REBUILD, REBUILD_START
from consumers.model.version_files import OVERTAKES
from millstream.reading import topic_readers
from model_store import Manifest, ModelStore, StoreError, VersionId
from runtime.kafka_client.records import Partition
from schemas.codec import CodecError
from schemas.events import Adopted, ModelUpdate, Serving, read_model_update

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

LEAST_MS: Final = 200
"""A version that was the newest for less has hardly answered: predictors look for a new one every 200 ms."""


class NothingBefore(Exception):  # noqa: N818
    """There is no version to roll back to."""


class _Reign(NamedTuple):
    """From when to when a version was the newest that predictors were told of, in ms."""

    began: int
    version: VersionId
    until: int


def before(store: ModelStore, decisions: list[ModelUpdate], serving: VersionId) -> VersionId:
    """Return the version that served before the one that serves.

    That is the version that the decision before named, or else the last one that was the newest announced for at least
    `LEAST_MS`; of several that were not, the last. A version from the middle of a replay was never announced.

    Parameters
    ----------
    decisions
        All that were made on serving and adopting, oldest first.

    Raises
    ------
    NothingBefore
        Where no earlier version is in the store.
    """
    served = [each for each in decisions if isinstance(each.state, Serving)]
    last = served[-1] if served else None
    if last is not None and _named(last.state) is not None and len(served) > 1:
        earlier = _named(served[-2].state)
        if earlier is not None and earlier != serving and earlier in store.versions(serving.model):
            return earlier
    # Before a decision, or where there is none, the newest of its time served.
    until = last.at if last is not None and _named(last.state) is not None else None
    reigns = [
        each
        for each in _reigns(store, serving.model, _adoptions(decisions), sys.maxsize if until is None else until)
        if each.version != serving and (until is not None or each.version < serving)
    ]
    if not reigns:
        raise NothingBefore(f"no version of {serving.model} is older than {serving}, which serves: nothing was changed")
    long = [each for each in reigns if each.until - each.began >= LEAST_MS]
    return (long or reigns)[-1].version


def _reigns(store: ModelStore, model: str, adopted: Mapping[VersionId, int], until: int) -> list[_Reign]:
    """Return the versions that were announced up to a moment, in the order in which they were."""
    began = sorted((at, version) for version, at in _announced(store, model, adopted) if at <= until)
    ends = [*(at for at, _ in began[1:]), until]
    return [_Reign(at, version, end) for (at, version), end in zip(began, ends, strict=True)]


def _announced(store: ModelStore, model: str, adopted: Mapping[VersionId, int]) -> Iterator[tuple[VersionId, int]]:
    """Yield each version that predictors were told of, and since when."""
    manifests: dict[VersionId, Manifest] = {}
    for version in store.versions(model):
        try:
            manifests[version] = store.manifest(version)
        except StoreError:
            continue
    for version, manifest in manifests.items():
        if manifest.reason in (REBUILD, REBUILD_START):
            if version in adopted:  # until then it was there to be looked at only
                yield version, adopted[version]
        elif manifest.offset >= _overtakes(manifest, manifests):
            yield version, manifest.created_at_ms


def _overtakes(manifest: Manifest, manifests: Mapping[VersionId, Manifest]) -> int:
    """Return the offset from which versions of this one's epoch are announced: where its parent stood."""
    if OVERTAKES in manifest.extra:
        found: int = manifest.extra[OVERTAKES]
        return found
    # Of a version that was made before this was written into it, as far as its parent is still there.
    parent = None if manifest.parent is None else manifests.get(manifest.parent)
    first = min((each for each in manifests if each.epoch == manifest.version.epoch), default=None)
    made_anew = first is not None and manifests[first].reason == REBUILD_START
    if parent is None or made_anew or parent.topic_id != manifest.topic_id:
        return 0
    return parent.offset


def _adoptions(decisions: list[ModelUpdate]) -> dict[VersionId, int]:
    """Return when versions made anew were adopted, for the first time."""
    return {
        VersionId(each.state.model, each.state.epoch, each.state.examples): each.at
        for each in reversed(decisions)
        if isinstance(each.state, Adopted)
    }


def _named(state: object) -> VersionId | None:
    if not isinstance(state, Serving) or state.epoch is None or state.examples is None:
        return None
    return VersionId(state.model, state.epoch, state.examples)


def serving_decisions(cluster: Cluster, names: Names) -> list[ModelUpdate]:
    """Return the decisions on which version serves, and on what the learner went on from, oldest first."""
    topic = names.topic("decisions")
    found: list[ModelUpdate] = []
    with closing(cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        for record in topic_readers.between(consumer, Partition(topic, 0), begin, end):
            try:
                update = read_model_update(record.value or b"")
            except CodecError:
                continue  # anyone may write there; what is none of ours decides nothing
            if isinstance(update.state, (Serving, Adopted)) and record.key == update.state.key.encode():
                found.append(update)
    return found
