"""Operations on versions: verification against the log, and checks before a version is served."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Final

from consumers.model.checkpoints import EDITS_FILE, LearnerCheckpoints
from consumers.model.log_edits import Editor, Edits, UnusableEdits, editor
from consumers.model.verify import Verified, verify
from millstream.reading import topic_readers
from millstream.stream.processor_rules import definition_of, learning_rules
from millstream.version_code.choice import OtherCode, VersionCode
from model_store import ModelStore, NotFound, VersionId
from runtime.kafka_client.records import Partition, Record

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.topics import Names


_WAYS: Final = (
    "To continue with the current stream file, start the learner once with --new-epoch fresh (a new model, from "
    "here on), replay (a new model that learns the whole log) or keep (the same model goes on)"
)


class CannotVerify(Exception):  # noqa: N818
    """A version cannot be rebuilt for verification; the message says what is missing, and the solution."""


def verify_version(
    code: VersionCode,
    cluster: Cluster,
    names: Names,
    wanted: VersionId,
    base: VersionId | None,
    progress: Callable[[int, int], None],
) -> Verified:
    """Rebuild a version from an earlier one (by default its epoch's first) and the log, and compare them.

    A version of another definition than the stream file's is rebuilt with the code that it carries, if `code` allows
    that.

    Raises
    ------
    CannotVerify
        If the version learned from another log, a part of the log is gone, or its code must not be run.
    NotFound
        If there is no such version.
    """
    store = code.store
    target = store.manifest(wanted)
    start = store.manifest(base or _first(store, target.version))
    try:
        then = code.as_then(target)
    except OtherCode as error:
        raise CannotVerify(f"{error}. {_WAYS}") from error
    same = (start.version.model, start.version.epoch) == (target.version.model, target.version.epoch)
    if not same or start.offset > target.offset:
        raise CannotVerify(
            f"version {target.version} was not made from {start.version}: name an earlier one with --from"
        )
    topic = names.topic("examples")
    found = cluster.topic_info(topic).get(topic)
    if found is None or not store.is_log(target, found.id):
        raise CannotVerify(f"{topic} is not the log that version {target.version} was made from")
    checkpoints = LearnerCheckpoints(store, definition_of(then), learning_rules(then.stream), then.stream.kept_versions)
    with closing(cluster.consumer()) as consumer:
        begins = topic_readers.begin(consumer, topic)
        if begins > start.offset:
            raise CannotVerify(
                f"{topic} begins at offset {begins}, after the {start.offset} of version {start.version}: retention "
                "has taken what was learned between; name a later version with --from"
            )
        span = target.offset - start.offset
        place = Partition(topic, 0)
        history = edited(store, target.version, lambda end: topic_readers.between(consumer, place, start.offset, end))
        records = topic_readers.between(consumer, place, start.offset, target.offset)
        return verify(
            checkpoints, target, start, records, lambda offset: progress(offset - start.offset, span), history
        )


def edited(store: ModelStore, version: VersionId, read: Callable[[int], Iterable[Record]]) -> Editor | None:
    """Return the reader that applies the edits of a version's epoch; `None` if its history equals the log.

    Parameters
    ----------
    read
        Returns the records of the history up to an offset.
    """
    first = store.manifest(_first(store, version))
    if EDITS_FILE not in first.files:
        return None
    try:
        edits = Edits.decode(store.read(first, EDITS_FILE))
    except UnusableEdits as error:
        raise CannotVerify(f"version {first.version}: {error}") from error
    return editor(edits, read(edits.until))


def _first(store: ModelStore, version: VersionId) -> VersionId:
    """Return the first version of an epoch, which retention never deletes."""
    there = store.versions(version.model, version.epoch)
    if version not in there:
        raise NotFound(f"there is no version {version} of {version.model}")
    return there[0]
