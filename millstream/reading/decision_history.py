"""History of a stream's decisions: who, when, why, and what served at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from consumers.model.models_topic_state import Known, UnusableRecord
from millstream.reading import topic_readers
from runtime.kafka_client.records import Partition
from schemas.codec import CodecError
from schemas.model_names import MAIN, name_of, version_text
from schemas.model_updates import (
    Adopted,
    Decision,
    Learning,
    ModelUpdate,
    Promoted,
    Published,
    RolledBack,
    Serving,
    decision_hash,
    read_model_update,
)

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from runtime.kafka_client.records import Record
    from schemas.topics import Names

_ANNOUNCED: Final = b"published/"
_POLL_RECORDS: Final = 5000
_FIRST_BLOCK: Final = 20_000  # offsets
_GROWTH: Final = 4


@dataclass(frozen=True)
class Decided:
    """One decision.

    Attributes
    ----------
    time
        The broker's time of its record (ms).
    serves
        Id of the model that serves from here on; `None` if the decision is not about that, or came too late: a
        promotion, or a rollback by an alert rule, that follows a decision of a person which was no longer the last.
    """

    update: ModelUpdate
    offset: int
    time: int
    serves: str | None


def read_history(cluster: Cluster, names: Names) -> list[Decided]:
    """Return all decisions, oldest first, without the announcements of versions."""
    topic = names.topic("decisions")
    with closing(cluster.consumer(max_poll_records=_POLL_RECORDS)) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        return decisions_in(topic_readers.between(consumer, Partition(topic, 0), begin, end))


def read_newest(
    cluster: Cluster, names: Names, enough: Callable[[Sequence[Decided]], bool], at_ms: int | None = None
) -> list[Decided]:
    """Return the newest decisions, oldest first: so many that `enough` accepts them, otherwise all.

    Reads backwards, because a topic has 86,000 announcements a day and model between a handful of decisions. Where no
    decision on what serves is in force, it reads none.

    Parameters
    ----------
    at_ms
        Time (ms) up to which decisions count; without it, all.
    """
    known, place = _known(cluster, names), Partition(names.topic("decisions"), 0)
    if not known.has_decisions():
        return []
    with closing(cluster.consumer(max_poll_records=_POLL_RECORDS)) as consumer:
        begin, end = topic_readers.begin(consumer, place.topic), topic_readers.end(consumer, place.topic)
        if at_ms is not None:
            later = consumer.offsets_for_times({place: at_ms + 1})[place]
            end = end if later is None else later
        records: list[Record] = []
        size = _FIRST_BLOCK
        while True:
            start = max(begin, end - size)
            block = topic_readers.between(consumer, place, start, end)
            records = [*(each for each in block if not _is_announcement(each)), *records]
            found = decisions_in(records, whole=start == begin or not known.follows(0))
            if start == begin or enough(found):
                return found
            size, end = size * _GROWTH, start


def _is_announcement(record: Record) -> bool:
    """Return whether a record is an announcement, by its key: decoding it would take as long as reading it."""
    return record.key is not None and record.key.startswith(_ANNOUNCED)


def decisions_in(records: Iterable[Record], *, whole: bool = True) -> list[Decided]:
    """Return the decisions in records of the decisions topic; what is no decision is passed over.

    Parameters
    ----------
    whole
        True if no decision of a person on serving is older than these records. Otherwise those before the first of a
        person are left out, because it is not known whether a promotion among them holds.
    """
    found: list[Decided] = []
    follows = "" if whole else None
    for record in records:
        if _is_announcement(record):
            continue
        try:
            update = read_model_update(record.value or b"")
        except CodecError:
            continue  # any client can write there; an invalid record is not a decision
        state = update.state
        if isinstance(state, Published) or record.key != state.key.encode():
            continue
        serves = None
        if isinstance(state, Serving):
            serves, follows = state.model, decision_hash(record.value or b"")
        elif isinstance(state, (Promoted, RolledBack)) and state.follows == follows:
            serves = state.model
        if follows is None:
            continue
        found.append(Decided(update, record.offset, record.timestamp, serves))
    return found


def row(each: Decided) -> dict[str, Any]:
    """Return a decision as a row: time, who, what, and why; with the evidence of a decision by a rule."""
    state = each.update.state
    return {
        "at": each.update.at,
        "offset": each.offset,
        "by": state.by if not isinstance(state, Published) else "",
        "decision": said(state),
        "model": name_of(state.model) if state.model else name_of(""),
        "why": "" if isinstance(state, Published) else state.why,
        "in_force": not isinstance(state, (Promoted, RolledBack)) or each.serves is not None,
        "evidence": state.evidence if isinstance(state, (Promoted, RolledBack)) else {},
    }


def said(state: Decision) -> str:
    """Return a decision in words.

    >>> said(Serving("fraud.forest", 0, None, None, "ann", "better"))
    'serve forest'
    """
    if isinstance(state, Serving):
        if state.epoch is None or state.examples is None:
            return f"serve {name_of(state.model)}"
        return f"serve {version_text(state.model, state.epoch, state.examples)}"
    if isinstance(state, Promoted):
        return f"serve {name_of(state.model)} instead of {name_of(state.before)}"
    if isinstance(state, (RolledBack, Adopted)):
        version = version_text(state.model, state.epoch, state.examples)
        return f"go on from {version}" if isinstance(state, Adopted) else f"serve {version}"
    if isinstance(state, Learning):
        return f"{'pause' if state.paused else 'resume'} learning of {name_of(state.model)}"
    return "announce a version"


def in_force_at(history: Sequence[Decided], at_ms: int) -> Decided | None:
    """Return the decision on serving that was in force at a time; `None` before the first."""
    before = [each for each in history if each.serves is not None and each.time <= at_ms]
    return before[-1] if before else None


def served_model(cluster: Cluster, names: Names) -> str:
    """Return the id of the model that serves by the decisions in force; without one, the stream's own.

    The models topic is compacted and stays short; the decisions topic has every announcement of a version.
    """
    return _known(cluster, names).serves(names.stream, 0)


def _known(cluster: Cluster, names: Names) -> Known:
    """Return the state of the models topic."""
    topic, known = names.topic("models"), Known()
    with closing(cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        for record in topic_readers.between(consumer, Partition(topic, 0), begin, end):
            with suppress(UnusableRecord):  # any client can write there
                known.take(record.key, record.value)
    return known


def lost_model(cluster: Cluster, names: Names, file: str) -> str | None:
    """Return what is wrong if the model that serves by the last decision is not in the stream file any more.

    Raises
    ------
    KafkaError, NoBroker
        If the cluster does not answer.
    """
    if not cluster.topic_info(names.topic("models")):
        return None
    serves = served_model(cluster, names)
    if serves in names.model_ids:
        return None
    name = name_of(serves)
    return (
        f"{name} serves by a decision, and {file} has no models={{{name!r}: …}}: put it back, or first let another "
        f"serve with `millstream models promote {names.stream} {MAIN}`"
    )
