"""Decisions about a stream's model, written to the topics that predictors and the learner follow.

The command line and the console decide by these functions.
"""

from __future__ import annotations

import contextlib
import getpass
import time
from contextlib import closing
from typing import Any, Final, NamedTuple

import msgspec

from consumers.model.version_files import is_announced
from millstream.reading import topic_readers
from model_store import Manifest, ModelStore, NotFound, VersionId
from model_store.errors import StoreError
from runtime.failpoints import failpoint
from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError, described
from runtime.kafka_client.records import Output, Partition
from schemas.codec import CodecError
from schemas.model_names import is_named, name_of
from schemas.model_updates import Decision, Learning, ModelUpdate, Published, Serving, read_model_update
from schemas.topics import Names

_ACKNOWLEDGED_S: Final = 15.0
_between = failpoint("decision.models.before")
_decided = failpoint("decision.models.after")


class NotDecided(Exception):  # noqa: N818
    """A decision did not reach the cluster, or only half of it; repeating it is harmless."""


def decide(cluster: Cluster, names: Names, state: Decision) -> ModelUpdate:
    """Write a decision to the models topic (the state in force) and to the decisions topic (the history).

    The decisions topic comes first, so the state in force is always part of the history.

    Raises
    ------
    NotDecided
        If the cluster has not acknowledged both.
    """
    return _write(cluster, names, state)[0]


def announce(cluster: Cluster, names: Names, state: Published) -> ModelUpdate:
    """Announce a version, on the same topics and in the same order as a decision. Raises NotDecided."""
    return _write(cluster, names, state)[0]


def _write(cluster: Cluster, names: Names, state: Decision | Published) -> tuple[ModelUpdate, int]:
    """Write a decision; return it with its offset on the models topic."""
    update = ModelUpdate(time.time_ns() // 1_000_000, state)
    key, value = state.key.encode(), update.encode()
    missing = {names.topic("decisions"), names.topic("models")} - set(
        cluster.topic_info(names.topic("decisions"), names.topic("models"))
    )
    if missing:
        raise NotDecided(f"there is no topic {min(missing)}: `millstream topics create STREAM` makes it")
    limits = {"request_timeout_ms": 5_000, "delivery_timeout_ms": int(_ACKNOWLEDGED_S * 1000)}
    offset = 0
    with closing(cluster.producer(acks="all", **limits)) as producer:
        for kind in ("decisions", "models"):
            try:
                record = Output(names.topic(kind), 0, key, value)
                [offset] = producer.send_for_offsets([record], _ACKNOWLEDGED_S)
            except KafkaError as error:
                raise NotDecided(
                    f"{names.topic(kind)} did not accept the decision ({described(error)}): run the command again"
                ) from error
            if kind == "decisions":
                _between()
    _decided()
    return update, offset


def learn(cluster: Cluster, names: Names, *, paused: bool, by: str, why: str, model: str = "") -> ModelUpdate:
    """Decide whether a learner learns: that of a named model by its id, else that of the stream's own.

    Raises NotDecided.
    """
    named = model if is_named(model) else ""
    return decide(cluster, names, Learning(shard=0, paused=paused, by=by, why=why, model=named))


class ServingDecided(NamedTuple):
    """A decision on the version to serve. `manifest` is the version's, `None` if the newest of a model is to serve."""

    update: ModelUpdate
    manifest: Manifest | None


def serve(
    cluster: Cluster, names: Names, store: ModelStore, version: VersionId | None, *, by: str, why: str, model: str = ""
) -> ServingDecided:
    """Decide which version predictors and servers serve; `None` means the newest of `model`.

    Retention does not delete the version while the decision is in force.

    Parameters
    ----------
    model
        Id of a model, by default the stream's own.

    Raises
    ------
    NotFound, VersionRefused
        If predictors would not serve the version, or the model has none; nothing was decided.
    NotDecided
        If the cluster has not acknowledged the decision.
    """
    model = version.model if version is not None else model or names.stream
    manifest = None if version is None else usable(store, version)
    if version is not None:
        store.pin(version)
    epoch, examples = (None, None) if version is None else (version.epoch, version.examples)
    update, offset = _write(cluster, names, Serving(model, 0, epoch, examples, by, why))
    # The previous decision protected its version from retention until now.
    for pinned in {each for of in store.models(names.stream) for each in store.pinned(of)} - {version}:
        store.unpin(pinned)
    # Somebody may have decided after this and before the lines above, which then have ended the wrong protection.
    later = _serving_since(cluster, names, offset)
    if later is not None and later.epoch is not None and later.examples is not None:
        with contextlib.suppress(StoreError):  # who decided that reports what is wrong with the version
            store.pin(VersionId(later.model, later.epoch, later.examples))
    return ServingDecided(update, manifest)


def promote(
    cluster: Cluster, names: Names, store: ModelStore, model: str, *, by: str, why: str
) -> tuple[ModelUpdate, VersionId]:
    """Decide that the newest version of a model serves, and each that follows; return it with the newest version now.

    Raises
    ------
    NotFound, VersionRefused
        If it has no version that predictors would serve; nothing was decided.
    NotDecided
        If the cluster has not acknowledged the decision.
    """
    there = store.versions(model)
    if not there:
        raise NotFound(
            f"there are no versions of {name_of(model)} of {names.stream}: its learner writes the first "
            f"(`millstream run` starts it)"
        )
    newest = next((version for version in reversed(there) if is_announced(store.manifest(version))), None)
    if newest is None:
        raise NotFound(
            f"{name_of(model)} of {names.stream} has learned {there[-1].examples:,} examples and catches up with the "
            "other models: it can serve when it has learned as much as they had at its start"
        )
    usable(store, newest)
    return serve(cluster, names, store, None, by=by, why=why, model=model).update, newest


def _serving_since(cluster: Cluster, names: Names, offset: int) -> Serving | None:
    """Return the newest decision on the version to serve, of those at this offset of the models topic and later."""
    topic, found = names.topic("models"), None
    with closing(cluster.consumer()) as consumer:
        end = topic_readers.end(consumer, topic)
        for record in topic_readers.between(consumer, Partition(topic, 0), offset, end):
            try:
                state = read_model_update(record.value or b"").state
            except CodecError:
                continue
            if isinstance(state, Serving) and record.key == state.key.encode():
                found = state
    return found


def usable(store: ModelStore, version: VersionId) -> Manifest:
    """Return the manifest of a complete version. Raises NotFound or VersionRefused if predictors would not serve it."""
    if version not in store.versions(version.model):
        raise NotFound(
            f"there is no version {version} of {version.model}: `millstream models list` shows what there is"
        )
    manifest = store.manifest(version)
    for file in manifest.files:
        store.check(manifest, file)
    return manifest


def decided_row(names: Names, update: ModelUpdate) -> dict[str, Any]:
    """Return a decision for JSON."""
    return {"stream": names.stream, "at": update.at, **msgspec.structs.asdict(update.state)}


def who() -> str:
    """Return the name of the deciding user for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
