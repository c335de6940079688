"""Choice of what a rollback goes to: the version or the model that served before."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from consumers.model.checkpoints import REBUILD, REBUILD_START
from consumers.model.version_files import OVERTAKES
from millstream.reading.decision_history import Decided, read_newest
from millstream.status.group_metadata import recalled
from millstream.status.report import served
from millstream.status.snapshot import Observer
from model_store import Manifest, ModelStore, StoreError, VersionId
from schemas.model_names import name_of
from schemas.model_updates import Adopted, ModelUpdate, RolledBack, Serving

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names

LEAST_MS: Final = 200
"""Shortest time (ms) as the newest version to count as served: predictors look for a new one every 200 ms."""


class NothingBefore(Exception):  # noqa: N818
    """There is no version to roll back to."""


class _Reign(NamedTuple):
    """Period in which a version was the newest announced one, in ms."""

    began: int
    version: VersionId
    until: int


def before(store: ModelStore, decisions: list[ModelUpdate], serving: VersionId) -> VersionId:
    """Return the version that served before the current one.

    That is the version that the previous decision named, else the last version that was the newest announced one for at
    least `LEAST_MS`; if there is none, the last announced one. A version from the middle of a replay was never
    announced.

    Parameters
    ----------
    decisions
        All decisions on serving and adopting, oldest first.

    Raises
    ------
    NothingBefore
        If no earlier version is in the store.
    """
    chosen = [each for each in decisions if isinstance(each.state, (Serving, RolledBack))]
    last = chosen[-1] if chosen else None
    if last is not None and _named(last.state) is not None and len(chosen) > 1:
        earlier = _named(chosen[-2].state)
        if earlier is not None and earlier != serving and earlier in store.versions(serving.model):
            return earlier
    # Before the first decision, and without one, the newest version of each time served.
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
    """Return the versions announced until a time, in the order of their announcement."""
    began = sorted((at, version) for version, at in announced(store, model, adopted) if at <= until)
    ends = [*(at for at, _ in began[1:]), until]
    return [_Reign(at, version, end) for (at, version), end in zip(began, ends, strict=True)]


def announced(store: ModelStore, model: str, adopted: Mapping[VersionId, int]) -> Iterator[tuple[VersionId, int]]:
    """Yield each announced version, and the time of its announcement."""
    manifests: dict[VersionId, Manifest] = {}
    for version in store.versions(model):
        try:
            manifests[version] = store.manifest(version)
        except StoreError:
            continue
    for version, manifest in manifests.items():
        if manifest.reason in (REBUILD, REBUILD_START):
            if version in adopted:  # before its adoption a rebuilt version did not serve
                yield version, adopted[version]
        elif manifest.offset >= _overtakes(manifest, manifests):
            yield version, manifest.created_at_ms


def _overtakes(manifest: Manifest, manifests: Mapping[VersionId, Manifest]) -> int:
    """Return the offset from which versions of this epoch are announced: that of its parent."""
    if OVERTAKES in manifest.extra:
        found: int = manifest.extra[OVERTAKES]
        return found
    # Old manifests do not hold the offset; then the parent gives it, if it still exists.
    parent = None if manifest.parent is None else manifests.get(manifest.parent)
    first = min((each for each in manifests if each.epoch == manifest.version.epoch), default=None)
    made_anew = first is not None and manifests[first].reason == REBUILD_START
    if parent is None or made_anew or parent.topic_id != manifest.topic_id:
        return 0
    return parent.offset


def _adoptions(decisions: list[ModelUpdate]) -> dict[VersionId, int]:
    """Return the time of the first adoption of each rebuilt version."""
    return {
        VersionId(each.state.model, each.state.epoch, each.state.examples): each.at
        for each in reversed(decisions)
        if isinstance(each.state, Adopted)
    }


def _named(state: object) -> VersionId | None:
    if not isinstance(state, (Serving, RolledBack)) or state.epoch is None or state.examples is None:
        return None
    return VersionId(state.model, state.epoch, state.examples)


class Target(NamedTuple):
    """What a rollback goes to: a version, or the newest one of a model if `version` is `None`."""

    model: str
    version: VersionId | None


def previous(cluster: Cluster, names: Names, store: ModelStore) -> Target:
    """Return what a rollback without a named version goes to.

    After a promotion, by a person or by the rule, that is the model that served before it; otherwise the version that
    served before. Raises NothingBefore.
    """
    history = changing(read_newest(cluster, names, tells_model_before), names.stream)
    former = model_before(history, names.stream)
    if former is not None:
        if former not in names.model_ids:
            raise NothingBefore(
                f"{name_of(former)} served before, and is not among the stream's models any more: put it back into the "
                f"stream file, or choose with `millstream models promote {names.stream} MODEL`"
            )
        if not store.versions(former):
            raise NothingBefore(f"no version of {former} is left, which served before: name a version")
        return Target(former, None)
    with Observer(cluster, recalled(cluster, names)) as observer:
        found = served(observer.look()).served
    if found is None:
        raise NothingBefore(f"nothing serves {names.stream} yet, so there is nothing to roll back from")
    serving = VersionId.parse(found, names.stream)
    mine = [each.update for each in history if _is_about(each, serving.model)]
    return Target(serving.model, before(store, mine, serving))


def _is_about(decided: Decided, model: str) -> bool:
    state = decided.update.state
    holds = isinstance(state, (Serving, Adopted)) or (isinstance(state, RolledBack) and decided.serves is not None)
    return holds and state.model == model


def changing(history: Sequence[Decided], own: str) -> list[Decided]:
    """Return the decisions without those on serving that changed nothing, which have nothing to roll back.

    Such is the promotion of the model that serves already, or the pin of the version that is pinned already.

    Parameters
    ----------
    own
        Id of the stream's own model, which serves before the first decision.
    """
    found: list[Decided] = []
    now: tuple[str, VersionId | None] = own, None
    for each in history:
        if each.serves is not None:
            then = each.serves, _named(each.update.state)
            if then == now:
                continue
            now = then
        found.append(each)
    return found


def tells_model_before(newest: Sequence[Decided]) -> bool:
    """Return whether the newest decisions show, without older ones, that the last change was to another model."""
    states = [(each.serves, _named(each.update.state)) for each in newest if each.serves is not None]
    changes = (pair for pair in itertools.pairwise(reversed(states)) if pair[0] != pair[1])
    now, then = next(changes, (("", None), ("", None)))
    return now[0] != then[0]


def model_before(history: Sequence[Decided], own: str) -> str | None:
    """Return the id of the model that served before the one that serves, `None` if the last decision changed none.

    Parameters
    ----------
    own
        Id of the stream's own model, which serves before the first decision.
    """
    served_models = [own, *(each.serves for each in history if each.serves is not None)]
    last = served_models[-1]
    return None if len(served_models) < 2 or served_models[-2] == last else served_models[-2]
