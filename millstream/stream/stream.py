"""Class `Stream`: the one object that a user's stream file defines."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from millstream.stream.alert_rules import Known, Rule, check_rules, rollback_days
from millstream.stream.batch import BatchModel, check_batch
from millstream.stream.calendar import Calendar
from millstream.stream.competition import Model, Promote, check_models, check_promote, check_slices
from millstream.stream.duration import milliseconds
from millstream.stream.errors import InvalidStream
from millstream.stream.flat_names import grouped
from millstream.stream.metrics_from import MetricsFrom, check_metrics_from, names_of, sources_of, takes_http
from millstream.stream.notify import Target as NotifyTarget
from millstream.stream.notify import check_targets
from millstream.stream.parameter_checks import check_choices, check_counts, check_kind, known_parameters
from millstream.stream.parameter_groups import (
    GROUPS,
    Checkpoints,
    Evaluation,
    Join,
    Labels,
    Predictions,
    Validation,
)
from millstream.stream.slices import Slice
from millstream.stream.watching import Watch
from model_store.retention import Retention
from schemas.contract import Contract, Feature, FeatureType, clash
from schemas.events import Features, Scalar
from schemas.preparing import Prepare
from schemas.sources.source import Source
from schemas.target import Target, TargetError, Task
from schemas.topics import InvalidName, Names

Weight = Mapping[Any, float] | Callable[[Features, Scalar], float]


@known_parameters(grouped)
@dataclass(frozen=True, kw_only=True)
class Stream:
    """An online model: its task, label and features, and how it learns.

    Parameters
    ----------
    name
        a-z, 0-9 and '-'. Topics, groups and versions are named after it.
    task
        ``binary``, ``multiclass``, ``regression`` or ``anomaly``.
    model
        Called without arguments, returns a new River model. A seed belongs inside it. Or a `Model`.
    models
        Further models that learn the same log, by name: see `Model`. `model` serves first; a person or the rule may
        promote another.
    batch
        Models that jobs train on the log with scikit-learn, by name: see `BatchModel`.
    promote
        The rule by which another model is promoted: see `Promote`. Without it, only a person promotes one.
    slices
        Parts of the events that models are compared on: a comparison (``"amount > 1000"``), the name of a feature, or
        ``function(features)``, by name.
    shadow_share
        Share of the events that the other models answer in the shadow, 0 to 1, chosen by a hash of the event id.
    watch
        What the monitor compares with what: see `Watch`.
    metrics_from
        Downstream metrics that the monitor watches: a `Source` whose numbers they are, ``"http"`` for those that the
        server takes (``POST /v1/metrics/NAME``), or several of these.
    alerts
        When the monitor raises an alert, and what it does: see `Rule`. Names are unique.
    notify
        Targets that alerts are delivered to: see `Webhook` and `Alertmanager`.
    label
        The label's column in files; the other columns are features.
    id, time
        Columns of the event id and its time (ISO 8601, or ms since 1970). Without `id`, the event id is made from
        the event's position and content in the file.
    positive, classes
        The label that means True in a binary stream, and all valid labels: any other is refused. Without `classes`,
        a binary label that has the type of `positive` and differs from it means False.
    learn_from
        ``labels``, or ``events`` for models that learn without labels (anomaly detection).
    weight
        Weight by class (``{True: 20.0}``), or ``function(features, label) -> float``. It is part of the example.
    prepare
        ``function(features) -> features``, run on every event before the contract: an embedding of one's own turns an
        image's bytes or a text into numbers, which travel on in its place.
    features
        The contract: a type (``"number"``, …) or a `Feature` for each name. Without it, all finite and typed
        features are accepted. Or a `Source`: the external topic that events come from, with the contract.
    calendar
        Features from the event's time, such as its hour and weekday, in a time zone: see `Calendar`.
    partitions
        Number of partitions of features, predictions and labels, if Millstream creates the topics.
    labels
        Label wait, meaning of a missing label, and external topics of labels: see `Labels`.
    validation
        Treatment of unknown features, missing values and outliers: see `Validation`.
    evaluation
        Metrics: see `Evaluation`.
    checkpoints
        Schedule and retention of versions: see `Checkpoints`.
    predictions
        Form of the records on the predictions topic: see `Predictions`.
    join
        Limits of the join of predictions with their labels: see `Join`.

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
    model: Callable[[], Any] | Model | BatchModel
    models: Mapping[str, Model] = field(default_factory=dict)
    batch: Mapping[str, BatchModel] = field(default_factory=dict)
    promote: Promote | None = None
    slices: Mapping[str, Slice] = field(default_factory=dict)
    shadow_share: float = 1.0
    watch: Watch = field(default_factory=Watch)
    metrics_from: MetricsFrom = ()
    alerts: Sequence[Rule] = ()
    notify: Sequence[NotifyTarget] = ()
    label: str = "label"
    id: str | Sequence[str] | None = None
    time: str | None = None
    positive: Scalar | None = None
    classes: Sequence[Scalar] | None = None
    learn_from: Literal["labels", "events"] = "labels"
    weight: Weight | None = None
    prepare: Prepare | None = None
    features: Source | Mapping[str, Feature | FeatureType] = field(default_factory=dict)
    calendar: Calendar | None = None
    partitions: int = 4
    labels: Labels = field(default_factory=Labels)
    validation: Validation = field(default_factory=Validation)
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    predictions: Predictions = field(default_factory=Predictions)
    join: Join = field(default_factory=Join)

    def __post_init__(self) -> None:
        try:
            Names(self.name)
        except InvalidName as error:
            raise InvalidStream(f"Stream: {error}") from error
        if not callable(self.model):
            raise InvalidStream("Stream: model= must be a function that returns a new model, such as lambda: ...")
        for name, kind in GROUPS.items():
            check_kind(self, name, kind, f"{name}={kind.__name__}({_EXAMPLES[name]})")
        check_kind(self, "watch", Watch, "watch=Watch(reference='7d')")
        check_choices(self, _CHOICES)
        check_counts(self, "partitions")
        self._check_learning()
        if self.prepare is not None and not callable(self.prepare):
            raise InvalidStream("Stream: prepare= must be a function of the features, such as lambda features: {...}")
        self._check_features()
        self._check_target()
        check_models(self.models, self.name)
        check_batch(self.batch, self.models, self.name, self.task)
        check_promote(self.promote, self.task, self.named)
        check_slices(self.slices, self.contract.private)
        check_metrics_from(self.metrics_from)
        self._check_competition()
        self._check_alerts()

    def _check_alerts(self) -> None:
        check_targets(self.notify)
        targets, metrics = [target.name for target in self.notify], names_of(self.metrics_from)
        known = Known(self.task, self._reaching, metrics, self.models, targets, self.watch.window, self.batch)
        check_rules(self.alerts, known)

    def _check_competition(self) -> None:
        share = self.shadow_share
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise InvalidStream(f"Stream: shadow_share={share!r:.60} must be a number from 0 to 1")
        reaching = self._reaching
        for name, model in (("model", self.model), *self.named.items()):
            for feature in model.sees or () if isinstance(model, (Model, BatchModel)) else ():
                if reaching is not None and feature not in reaching:
                    raise InvalidStream(
                        f"Model: {name} sees {feature!r}, which is not in features= and never reaches it"
                    )

    def _check_learning(self) -> None:
        if self.learn_from == "events" and self.labels.on_timeout is not None:
            raise InvalidStream("Stream: labels=Labels(on_timeout=…) has no meaning with learn_from='events'")
        if self.learn_from == "events" and self.task != "anomaly":
            raise InvalidStream("Stream: learn_from='events' is for task='anomaly': the others learn from labels")

    def _check_features(self) -> None:
        for name, feature in self._contract.items():
            if isinstance(feature, str) and feature not in _FEATURE_TYPES:
                raise InvalidStream(
                    f"Stream: feature {name!r} has type {feature!r}; it must be one of {', '.join(_FEATURE_TYPES)}"
                )

        if self.calendar is None:
            return
        if not isinstance(self.calendar, Calendar):
            raise InvalidStream(
                f"Stream: calendar={self.calendar!r:.60} must be Calendar(...), such as "
                "Calendar('hour', 'weekday', tz='Europe/Berlin')"
            )
        fields = self.features.fields if isinstance(self.features, Source) else {}
        calendar = self.calendar.features
        for name in (*self._contract, *fields):
            if name in calendar.names:
                raise InvalidStream(f"Stream: features={name!r} is sent, and {clash(calendar, name)}")

    def _check_target(self) -> None:
        if isinstance(self.classes, str):
            raise InvalidStream(f"Stream: classes={self.classes!r} must be several, such as classes=('a', 'b')")
        try:
            self.target.check()
        except TargetError as error:
            raise InvalidStream(f"Stream: {error}") from error
        on_timeout = self.labels.on_timeout
        if on_timeout is not None:
            try:
                self.target.coerce(on_timeout)
            except TargetError as error:
                raise InvalidStream(f"Labels: on_timeout={on_timeout!r} is no label of this task: {error}") from error

    @property
    def features_source(self) -> Source | None:
        """Source of the events, if they come from an external topic."""
        return self.features if isinstance(self.features, Source) else None

    @property
    def labels_from(self) -> tuple[str, ...]:
        """External topics that labels come from, each once."""
        return tuple(dict.fromkeys(source.topic for source in self.labels.each_source))

    @property
    def metrics_sources(self) -> tuple[Source, ...]:
        """External topics of downstream metrics."""
        return sources_of(self.metrics_from)

    @property
    def takes_metrics(self) -> bool:
        """Whether the server takes downstream metrics."""
        return takes_http(self.metrics_from)

    @property
    def elsewhere(self) -> dict[str, str]:
        """External topics by kind."""
        source = self.features_source
        return {} if source is None else {"features": source.topic}

    @property
    def _contract(self) -> Mapping[str, Feature | FeatureType]:
        return self.features.contract if isinstance(self.features, Source) else self.features

    @property
    def contract(self) -> Contract:
        """Contract of the events."""
        named = {
            name: feature if isinstance(feature, Feature) else Feature(type=feature)
            for name, feature in self._contract.items()
        }
        return Contract(
            features=named,
            unknown=self.validation.unknown,
            missing=self.validation.missing,
            bounds=self.validation.bounds,
            max_features=self.validation.max_features,
            calendar=None if self.calendar is None else self.calendar.features,
        )

    @property
    def _reaching(self) -> Collection[str] | None:
        """Names of the features that an event can have after validation, `None` if any."""
        named = self.contract.declared if self._contract else {}
        return named if named and self.validation.unknown != "keep" else None

    @property
    def sees(self) -> frozenset[str] | None:
        """Names of the features that `model` is given, `None` if all."""
        sees = self.model.sees if isinstance(self.model, (Model, BatchModel)) else None
        return None if sees is None else frozenset(sees)

    @property
    def seen(self) -> Contract:
        """The part of the contract that covers what `model` sees; a version of the model carries it."""
        return self.contract if self.sees is None else self.contract.narrowed(self.sees)

    def of_model(self, name: str) -> Stream:
        """Return the stream with one of its named models as its model; with an empty name the stream itself."""
        return replace(self, model=self.named[name]) if name else self

    @property
    def asked(self) -> frozenset[str]:
        """Names of the named models that are asked in the shadow: all but batch models that a person serves."""
        return frozenset(self.models) | {name for name, each in self.batch.items() if each.deploy != "by-hand"}

    @property
    def named(self) -> Mapping[str, Model | BatchModel]:
        """The stream's models beside its own, by name: those that learn from each event, and batch models."""
        return {**self.models, **self.batch}

    @property
    def target(self) -> Target:
        """Target of the predictions."""
        return Target(
            task=self.task,
            positive=self.positive,
            classes=None if self.classes is None else tuple(self.classes),
        )

    @property
    def kept_versions(self) -> Retention:
        """Retention of versions; with a rule that may roll back, a version of each day that it may go back to stays."""
        keep = self.checkpoints.keep
        days = rollback_days(self.alerts)
        return keep if days is None else replace(keep, for_rollback=max(self.watch.reference_days, days) + 1)

    @property
    def dedup_window_ms(self) -> int:
        """The `dedup_window` of `join` in milliseconds; by default `labels.wait`."""
        return self.labels.wait_ms if self.join.dedup_window is None else milliseconds(self.join.dedup_window)


_CHOICES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"task": ("binary", "multiclass", "regression", "anomaly"), "learn_from": ("labels", "events")}
)
_FEATURE_TYPES: Final = ("number", "integer", "boolean", "string", "bytes", "vector")
_EXAMPLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "labels": "wait='7d'",
        "validation": "unknown='refuse'",
        "evaluation": "window=500",
        "checkpoints": "every='30s'",
        "predictions": "format='json'",
        "join": "max_pending=1_000_000",
    }
)
