"""History of a stream's decisions: who, when, why, and what served at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
    with closing(cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        return decisions_in(topic_readers.between(consumer, Partition(topic, 0), begin, end))


def decisions_in(records: Iterable[Record]) -> list[Decided]:
    """Return the decisions in records of the decisions topic; what is no decision is passed over."""
    found: list[Decided] = []
    follows = ""
    for record in records:
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
    topic, known = names.topic("models"), Known()
    with closing(cluster.consumer()) as consumer:
        begin, end = topic_readers.begin(consumer, topic), topic_readers.end(consumer, topic)
        for record in topic_readers.between(consumer, Partition(topic, 0), begin, end):
            with suppress(UnusableRecord):  # any client can write there
                known.take(record.key, record.value)
    return known.serves(names.stream, 0)


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
