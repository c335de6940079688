"""Topics of a stream: names, required settings, and the partition of an event id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from runtime.kafka_client.partitioner import hashed
from schemas.model_names import model_id

NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
PREFIX: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9.-])?")
DAY_MS: Final = 24 * 3600 * 1000

KINDS: Final = (
    "features",
    "predictions",
    "labels",
    "examples",
    "models",
    "decisions",
    "alerts",
    "jobs",
    "profiles",
    "dead-letters",
)
ANSWERS: Final = "answers"
"""Kind of the topic of whole predictions; only streams with public predictions have it."""
PROFILES: Final = "profiles"
"""Kind of the topic of windows, which the monitor writes and judges."""
METRICS: Final = "metrics"
"""Kind of the topic of downstream metrics that the server takes; only streams that ask for it have it."""
SHADOWS: Final = "shadows"
COMPARISONS: Final = "comparisons"
COMPARED: Final = (SHADOWS, COMPARISONS)
"""Kinds of the topics of compared models; only streams with several models have them."""

NOT_OURS: Final = (
    "Source(topic=...) names it, so it is external and Millstream does not create it; correct the name, or create it"
)
"""Advice about a missing external topic."""


class InvalidName(ValueError):  # noqa: N818
    """A stream or prefix has a name that Kafka or the file system could misread."""


def check_prefix(prefix: str) -> None:
    """Raise InvalidName unless the prefix is empty or valid for topics and folders."""
    if prefix and not PREFIX.fullmatch(prefix):
        raise InvalidName(
            f"prefix {prefix[:100]!r} must be at most 64 of a-z, 0-9, '-' and '.', beginning with a letter or digit"
        )


@dataclass(frozen=True)
class TopicSpec:
    """Requirements of one topic: its partitions, its settings, and its least retention (ms)."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)
    least_retention_ms: int | None = None


@dataclass(frozen=True)
class Names:
    """Every name a stream has on a Kafka cluster.

    Parameters
    ----------
    elsewhere
        Full names of external topics that replace the stream's own, by kind.
    labels_from
        Full names of external topics of labels, beside the stream's own; also empty if only the stream's name is known.
    public
        True if predictions are written in a public form; whole ones, with the features used, then have their own topic.
    models
        Names of the stream's other models, beside its own; also empty if only the stream's name is known.
    batch
        Those of them that jobs train: they have no learner.
    promotes, notifies
        True if a rule may promote a model, and if alerts are delivered to targets.
    takes_metrics
        True if the server takes downstream metrics, which have a topic then.
    metrics_from
        Full names of external topics of downstream metrics.

    >>> Names("fraud", prefix="ann-").topic("features")
    'ann-fraud.features'
    >>> Names("fraud", elsewhere={"features": "payments"}).topic("features")
    'payments'
    >>> Names("fraud", public=True).whole
    'fraud.answers'
    >>> Names("fraud", models=("forest",)).model_ids
    ('fraud', 'fraud.forest')
    """

    stream: str
    prefix: str = ""
    elsewhere: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels_from: tuple[str, ...] = ()
    public: bool = False
    models: tuple[str, ...] = ()
    promotes: bool = False
    notifies: bool = False
    takes_metrics: bool = False
    metrics_from: tuple[str, ...] = ()
    batch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.stream):
            raise InvalidName(
                f"stream name {self.stream[:100]!r} must be 1 to 63 of a-z, 0-9 and '-', not beginning with '-'"
            )
        check_prefix(self.prefix)
        ours = {f"{self.prefix}{self.stream}.{kind}" for kind in (*KINDS, ANSWERS, METRICS, *COMPARED)}
        others = [("labels", topic) for topic in self.labels_from] + [("metrics", topic) for topic in self.metrics_from]
        for kind, topic in (*self.elsewhere.items(), *others):
            if topic in ours:
                raise InvalidName(f"{kind} of {self.stream} cannot come from {topic}: that is a topic of its own")

    def topic(self, kind: str) -> str:
        """Return the topic's name; `kind` is one of `KINDS` or `COMPARED`, or `ANSWERS`."""
        assert kind in (*KINDS, ANSWERS, METRICS, *COMPARED), kind  # noqa: S101 - an error of the caller, not of a user
        return self.elsewhere.get(kind) or f"{self.prefix}{self.stream}.{kind}"

    def kind(self, topic: str) -> str:
        """Return the kind of a topic; for an external label topic its full name, as two may have the same ending."""
        for kind, name in self.elsewhere.items():
            if name == topic:
                return kind
        return topic if topic in (*self.labels_from, *self.metrics_from) else topic.rpartition(".")[2]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of topics that this stream has, own and external ones."""
        optional = ((ANSWERS, self.public), (METRICS, self.takes_metrics))
        return (*KINDS, *(kind for kind, there in optional if there), *(COMPARED if self.models else ()))

    @property
    def own(self) -> tuple[str, ...]:
        """Return the kinds of the stream's own topics, which Millstream creates, checks and deletes."""
        return tuple(kind for kind in self.kinds if kind not in self.elsewhere)

    @property
    def whole(self) -> str:
        """Return the topic of whole predictions, which the joiner reads."""
        return self.topic(ANSWERS if self.public else "predictions")

    def group(self, role: str) -> str:
        """Return the consumer group of a role."""
        return f"{self.prefix}{self.stream}.{role}"

    def process(self, role: str, instance: str) -> str:
        """Return the group instance id and transactional id of one process of a role."""
        return f"{self.prefix}{self.stream}.{role}-{instance}"

    @property
    def model_ids(self) -> tuple[str, ...]:
        """Return the ids of the stream's models, its own first."""
        return tuple(model_id(self.stream, name) for name in ("", *self.models))


def specs(names: Names, *, partitions: int, label_wait_ms: int) -> list[TopicSpec]:
    """Return the requirements of the stream's own topics, for `partitions` of features, predictions and labels."""
    waits = max(7 * DAY_MS, 3 * label_wait_ms + DAY_MS)
    # A record that wraps an event is larger than the event: an event of 1 MB must pass every stage.
    wide = {"max.message.bytes": str(8 << 20)}
    log_time = {"message.timestamp.type": "LogAppendTime"}
    keep = {"retention.ms": "-1", "cleanup.policy": "delete"}
    joined = {**log_time, **wide, "cleanup.policy": "delete", "retention.ms": str(waits)}
    least = 3 * label_wait_ms  # a joiner that has lost its store reads so far back
    per_kind: dict[str, tuple[int, dict[str, str], int | None]] = {
        "features": (
            partitions,
            {**log_time, "cleanup.policy": "delete", "retention.ms": str(7 * DAY_MS)},
            None,
        ),
        # Public predictions are kept as long as whole ones, but Millstream does not need them.
        "predictions": (partitions, joined, None if names.public else least),
        ANSWERS: (partitions, joined, least),
        "labels": (partitions, joined, least),
        "examples": (1, {**log_time, **keep, **wide}, None),
        # A shadow answer may only come from a version that the broker took before the prediction.
        "models": (1, {**log_time, "cleanup.policy": "compact", "max.compaction.lag.ms": str(DAY_MS)}, None),
        "decisions": (1, {**log_time, **keep}, None),
        "alerts": (1, keep, None),
        "jobs": (1, keep, None),
        # The monitor deletes old windows by their keys, when it has merged them to hours and days.
        PROFILES: (1, {**log_time, **wide, "cleanup.policy": "compact"}, None),
        SHADOWS: (partitions, joined, least),
        COMPARISONS: (1, {**log_time, **keep, **wide}, None),
        METRICS: (1, {**log_time, "cleanup.policy": "delete", "retention.ms": str(30 * DAY_MS)}, None),
        "dead-letters": (1, {**wide, "cleanup.policy": "delete", "retention.ms": str(30 * DAY_MS)}, None),
    }
    return [TopicSpec(names.topic(kind), *per_kind[kind]) for kind in names.own]


def partition_of(event_id: str, partitions: int) -> int:
    """Return the partition of predictions and labels for an event id.

    It uses Kafka's own default: murmur2 of the key's bytes. Clients based on librdkafka hash with CRC-32 by default and
    write labels to other partitions; the joiner forwards those.
    """
    return partition_of_key(event_id.encode(), partitions)


def partition_of_key(event_id: bytes, partitions: int) -> int:
    """Return the same for an event id in UTF-8."""
    return hashed(event_id, partitions)
