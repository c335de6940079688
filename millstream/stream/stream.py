"""What a user writes: one `Stream` in one file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

from millstream.stream.duration import InvalidDuration, milliseconds
from model_store import Retention
from schemas.contract import Bounds, Contract, Feature, FeatureType, Missing
from schemas.events import Features, Scalar
from schemas.sources.label_mapping import check_labels
from schemas.sources.source import Source
from schemas.target import Target, TargetError, Task
from schemas.topics import InvalidName, Names

Weight = Mapping[Any, float] | Callable[[Features, Scalar], float]


class InvalidStream(ValueError):  # noqa: N818
    """The stream's own definition cannot work; the message names the argument and what it may be."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A model in a loop: what is predicted, by which model, from which features.

    Parameters
    ----------
    name
        a-z, 0-9 and '-'. Topics, groups and versions are named after it.
    task
        ``binary``, ``multiclass``, ``regression`` or ``anomaly``.
    model
        Called without arguments, returns a new River model. A seed belongs inside it.
    label
        The label's column in files; the other columns are features.
    id, time
        The columns that name an event and its time (ISO 8601, or ms since 1970). Without `id`, an
        event is named after its place and content in the file.
    label_wait
        How far apart the broker may see a prediction and its label for them to be joined.
    on_timeout
        Learned as the label where none came within `label_wait`; by default such events are dropped.
    learn_from
        ``labels``, or ``events`` for models that learn without (anomaly detection).
    weight
        By class (``{True: 20.0}``), or ``function(features, label) -> float``. Written into the example.
    features
        The contract: a name with a type (``"number"``, …) or a `Feature`. Without it, everything
        finite and typed is taken. Or a `Source`: somebody else's topic that events come from, which has the contract.
    labels
        `Source` of labels that come from somebody else's topics, or several. Labels on the stream's own topic are
        taken, too.
    unknown, missing
        What becomes of features not in the contract, and of null and NaN. See `Contract`.
    bounds
        What the learner does about a number far outside what its feature (or a number as the label) has been so far:
        ``off``, ``warn``, or ``dead-letter``. A `Feature` may say otherwise for itself. See `Contract`.
    max_features
        How many features of one event the model may see; an event with more is refused. Features that the contract
        drops do not count.
    positive, classes
        The label that means True in a binary stream, and all labels that there are: any other is refused. Without
        `classes`, a binary label of the kind of `positive` that is not it means False.
    metrics
        Called without arguments, returns a River metric or a sum of them. The default fits the task.
    window
        How many of the newest examples the "last N" metrics are over.
    dedup_window
        How long a joined id is remembered, `label_wait` unless given.
    checkpoint_every, checkpoint_examples
        A version is due after this span, or after so many examples, whichever comes first: 500 ms and 50,000
        unless given; with the versions in an object store 30 s, however many examples.
    retention
        Which old versions stay.
    partitions
        Of features, predictions and labels, where Millstream creates the topics.
    predictions_format
        What others read on the predictions topic: ``avro`` (Millstream's own), ``json``, or ``registry`` (Avro, framed
        by a schema registry).
    predictions_features
        Whether it carries the features as used.
    predictions_cloudevents
        The ``ce_source`` to write: predictions are CloudEvents (binary mode) then. Without it they are none.
    max_model_bytes
        Where a version's model is as large as this, learning stops and serving goes on; by default no size is too
        large. Alerts come before.
    max_pending
        Events and labels that may wait at once, per partition; beyond it the faster topic is paused.
    snapshot_every
        How often what waits is copied beside the versions, for a joiner whose disk is lost.

    Examples
    --------
    >>> from river import linear_model, preprocessing
    >>> stream = Stream(
    ...     name="phishing",
    ...     task="binary",
    ...     model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    ...     label="is_phishing",
    ... )
    """

    name: str
    task: Task
    model: Callable[[], Any]
    label: str = "label"
    id: str | Sequence[str] | None = None
    time: str | None = None
    label_wait: str | float | timedelta = "1d"
    on_timeout: Scalar | None = None
    learn_from: Literal["labels", "events"] = "labels"
    weight: Weight | None = None
    features: Source | Mapping[str, Feature | FeatureType] = field(default_factory=dict)
    labels: Source | Sequence[Source] = ()
    unknown: Literal["keep", "drop", "refuse"] = "drop"
    missing: Missing = "drop"
    bounds: Bounds = "warn"
    max_features: int = 1000
    positive: Scalar | None = None
    classes: Sequence[Scalar] | None = None
    metrics: Callable[[], Any] | None = None
    window: int = 1000
    dedup_window: str | float | timedelta | None = None
    checkpoint_every: str | float | timedelta | None = None
    checkpoint_examples: int | None = None
    retention: Retention = field(default_factory=Retention)
    partitions: int = 4
    max_pending: int = 5_000_000
    snapshot_every: str | float | timedelta = "5m"
    max_model_bytes: int | None = None
    predictions_format: Literal["avro", "json", "registry"] = "avro"
    predictions_features: bool = True
    predictions_cloudevents: str | None = None

    def __post_init__(self) -> None:
        try:
            Names(self.name)
            for span in ("label_wait", "dedup_window", "checkpoint_every", "snapshot_every"):
                if getattr(self, span) is not None:
                    milliseconds(getattr(self, span))
        except (InvalidName, InvalidDuration) as error:
            raise InvalidStream(f"Stream: {error}") from error
        if not callable(self.model):
            raise InvalidStream("Stream: model= must be a function that returns a new model, such as lambda: ...")
        self._check_choices()
        self._check_target()
        self._check_counts()
        self._check_labels()

    def _check_choices(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InvalidStream(f"Stream: {name}={getattr(self, name)!r} must be one of {', '.join(allowed)}")
        if self.learn_from == "events" and self.on_timeout is not None:
            raise InvalidStream("Stream: on_timeout= has no meaning with learn_from='events'")
        if self.learn_from == "events" and self.task != "anomaly":
            raise InvalidStream("Stream: learn_from='events' is for task='anomaly': the others learn from labels")
        if self.predictions_cloudevents is not None and not self.predictions_cloudevents.strip():
            raise InvalidStream("Stream: predictions_cloudevents='' must say who sends them, such as '/fraud'")
        for name, feature in self._contract.items():
            if isinstance(feature, str) and feature not in _FEATURE_TYPES:
                raise InvalidStream(
                    f"Stream: feature {name!r} has type {feature!r}; it must be one of {', '.join(_FEATURE_TYPES)}"
                )

    def _check_target(self) -> None:
        if isinstance(self.classes, str):
            raise InvalidStream(f"Stream: classes={self.classes!r} must be several, such as classes=('a', 'b')")
        try:
            self.target.check()
        except TargetError as error:
            raise InvalidStream(f"Stream: {error}") from error
        if self.on_timeout is not None:
            try:
                self.target.coerce(self.on_timeout)
            except TargetError as error:
                raise InvalidStream(
                    f"Stream: on_timeout={self.on_timeout!r} is no label of this task: {error}"
                ) from error

    def _check_counts(self) -> None:
        for name in ("window", "checkpoint_examples", "partitions", "max_pending", "max_model_bytes", "max_features"):
            value = getattr(self, name)
            if value is None and name in ("checkpoint_examples", "max_model_bytes"):
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidStream(f"Stream: {name}={value!r} must be a whole number, at least 1")

    def _check_labels(self) -> None:
        starts: dict[str, str] = {}
        if isinstance(self.labels, str):
            raise InvalidStream(
                f"Stream: labels={self.labels!r} must be a Source, such as Source(topic={self.labels!r})"
            )
        for source in self.label_sources:
            if not isinstance(source, Source):
                raise InvalidStream(f"Stream: labels={source!r:.60} must be a Source, or several")
            check_labels(source)
            if starts.setdefault(source.topic, source.start) != source.start:
                raise InvalidStream(f"Stream: two sources of labels on {source.topic} must have the same start=")

    @property
    def features_source(self) -> Source | None:
        """Where events come from, if from somebody else's topic."""
        return self.features if isinstance(self.features, Source) else None

    @property
    def label_sources(self) -> tuple[Source, ...]:
        """Where labels come from beside the stream's own topic."""
        return (self.labels,) if isinstance(self.labels, Source) else tuple(self.labels)

    @property
    def labels_from(self) -> tuple[str, ...]:
        """The topics of `label_sources`, each once."""
        return tuple(dict.fromkeys(source.topic for source in self.label_sources))

    @property
    def elsewhere(self) -> dict[str, str]:
        """By kind: topics that are not the stream's own."""
        source = self.features_source
        return {} if source is None else {"features": source.topic}

    @property
    def public(self) -> bool:
        """Whether others read predictions in another form than the loop does."""
        return self.predictions_format != "avro" or not self.predictions_features

    @property
    def _contract(self) -> Mapping[str, Feature | FeatureType]:
        return self.features.contract if isinstance(self.features, Source) else self.features

    @property
    def contract(self) -> Contract:
        """What events may carry."""
        named = {
            name: feature if isinstance(feature, Feature) else Feature(type=feature)
            for name, feature in self._contract.items()
        }
        return Contract(
            features=named,
            unknown=self.unknown,
            missing=self.missing,
            bounds=self.bounds,
            max_features=self.max_features,
        )

    @property
    def target(self) -> Target:
        """What is predicted."""
        return Target(
            task=self.task,
            positive=self.positive,
            classes=None if self.classes is None else tuple(self.classes),
        )

    @property
    def label_wait_ms(self) -> int:
        """`label_wait` in milliseconds."""
        return milliseconds(self.label_wait)

    @property
    def dedup_window_ms(self) -> int:
        """`dedup_window` in milliseconds."""
        return self.label_wait_ms if self.dedup_window is None else milliseconds(self.dedup_window)

    def checkpoint_pace(self, *, remote: bool = False) -> tuple[float, int]:
        """Return seconds and examples between checkpoints; `remote` where versions go over a network, at a price."""
        every, examples = (_EVERY_REMOTE, sys.maxsize) if remote else (_EVERY, _EXAMPLES)
        if self.checkpoint_every is not None:
            every = self.checkpoint_every
        return milliseconds(every) / 1000, self.checkpoint_examples or examples

    @property
    def snapshot_every_ms(self) -> int:
        """`snapshot_every` in milliseconds."""
        return milliseconds(self.snapshot_every)


_EVERY: Final[str | float | timedelta] = "500ms"
_EVERY_REMOTE: Final[str | float | timedelta] = "30s"
_EXAMPLES: Final = 50_000
_CHOICES: dict[str, tuple[str, ...]] = {
    "task": ("binary", "multiclass", "regression", "anomaly"),
    "learn_from": ("labels", "events"),
    "unknown": ("keep", "drop", "refuse"),
    "missing": ("drop", "none", "refuse"),
    "bounds": ("off", "warn", "dead-letter"),
    "predictions_format": ("avro", "json", "registry"),
}
_FEATURE_TYPES = ("number", "integer", "boolean", "string", "bytes", "vector")
