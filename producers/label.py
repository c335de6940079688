"""Sending of a single label by hand."""

from __future__ import annotations

import time
from dataclasses import dataclass

from producers.cell_types import NotAValue, reader
from producers.required_topics import existing
from producers.retrying_producer import RetryingProducer, RetryLimits
from producers.rows import SourceSpec
from runtime.kafka_client.cluster import Cluster
from schemas.events import Label, Scalar
from schemas.target import Target, TargetError
from schemas.topics import Names, partition_of


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """Options of a label. `correction` replaces the event's earlier label; `weight` applies when it is learned."""

    correction: bool = False
    weight: float = 1.0
    timeout_seconds: float = 30.0


def parse_label(text: str, target: Target) -> Scalar:
    """Parse a label that a user typed, in the target's form.

    >>> parse_label("1", Target(task="binary")), parse_label("1", Target(task="multiclass", classes=("1", "2")))
    (1, '1')

    Raises
    ------
    TargetError
        If it is not a valid label of this task.
    """
    kind = SourceSpec(target=target).label_type()
    try:
        value = reader(kind)(text)
    except NotAValue as error:
        raise TargetError(f"the label is {text!r}: {error}") from error
    if value is None or isinstance(value, (bytes, list)):
        raise TargetError(f"the label is {text!r}, which means no label")
    target.coerce(value)
    return value


def send_label(
    cluster: Cluster,
    names: Names,
    event_id: str,
    value: Scalar,
    *,
    target: Target,
    options: LabelOptions | None = None,
) -> int:
    """Send one label of source ``human`` to the labels topic; return its partition after the acknowledgement.

    Raises
    ------
    TargetError
        If `value` is not a valid label of the stream's task.
    MissingTopic, NoBroker, UndeliverableError
        If it could not be delivered.
    """
    options = options or LabelOptions()
    if not event_id:
        raise TargetError("an event id is at least one character")
    target.coerce(value)
    topic = names.topic("labels")
    partition = partition_of(event_id, existing(cluster, topic)[topic].partitions)
    label = Label(
        event_id,
        value,
        int(time.time() * 1000),
        weight=options.weight,
        source="human",
        kind="correction" if options.correction else "label",
    )
    sender = RetryingProducer(cluster, RetryLimits(give_up_seconds=options.timeout_seconds))
    try:
        sender.send(topic, partition, event_id.encode(), label.encode(), "the label")
        sender.drain()
    finally:
        sender.close()
    return partition
