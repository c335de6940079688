"""Groups of a stream's optional parameters, such as ``labels=Labels(wait="7d")``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, Literal

from millstream.stream.duration import milliseconds
from millstream.stream.errors import InvalidStream
from millstream.stream.parameter_checks import check_choices, check_counts, check_kind, check_spans, known_parameters
from model_store.retention import Retention
from schemas.contract import Bounds, Missing
from schemas.events import Scalar
from schemas.sources.label_mapping import check_labels
from schemas.sources.source import Source

Span = str | float | timedelta
_EVERY: Final = "500ms"
_EVERY_REMOTE: Final = "30s"
_EXAMPLES: Final = 50_000


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Labels:
    """Sources of labels, the label wait, and the meaning of a missing label.

    Parameters
    ----------
    wait
        The label wait: the largest difference between the broker times of a prediction and its label for a join.
    on_timeout
        The label to learn if none came within `wait`; by default such events are dropped.
    sources
        `Source` of labels from an external topic, or several. Labels on the stream's own topic count, too.

    Examples
    --------
    >>> Labels(wait="7d", on_timeout=False).wait_ms
    604800000
    """

    wait: Span = "1d"
    on_timeout: Scalar | None = None
    sources: Source | Sequence[Source] = ()

    def __post_init__(self) -> None:
        check_spans(self, "wait")
        if isinstance(self.sources, (str, Mapping)) or not isinstance(self.sources, (Source, Sequence)):
            topic = self.sources if isinstance(self.sources, str) else "..."
            raise InvalidStream(
                f"Labels: sources={self.sources!r:.60} must be a Source, such as Source(topic={topic!r})"
            )
        starts: dict[str, str] = {}
        for source in self.each_source:
            if not isinstance(source, Source):
                raise InvalidStream(f"Labels: sources={source!r:.60} must be a Source, or several")
            check_labels(source)
            if starts.setdefault(source.topic, source.start) != source.start:
                raise InvalidStream(f"Labels: two sources of labels on {source.topic} must have the same start=")

    @property
    def each_source(self) -> tuple[Source, ...]:
        """The `sources` as a tuple, also if there is only one."""
        return (self.sources,) if isinstance(self.sources, Source) else tuple(self.sources)

    @property
    def wait_ms(self) -> int:
        """`wait` in milliseconds."""
        return milliseconds(self.wait)


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Validation:
    """Treatment of features that are not in the contract, of missing values, and of outliers.

    Parameters
    ----------
    unknown
        Features that are not in the contract, if the contract has any: ``drop`` them, ``keep`` them, or ``refuse``
        the event.
    missing
        Null and NaN: ``drop`` the feature from the event, pass ``none`` to the model, or ``refuse`` the event. A
        `Feature` may override it.
    bounds
        A number far outside the earlier values of its feature (or of a numeric label): no check (``off``), the learner
        reports it and learns it if the model stays sound (``warn``), or it becomes a dead letter (``dead-letter``). A
        `Feature` may override it.
    max_features
        Largest number of features of one event; an event with more is refused. Features that the contract drops do
        not count.
    """

    unknown: Literal["keep", "drop", "refuse"] = "drop"
    missing: Missing = "drop"
    bounds: Bounds = "warn"
    max_features: int = 1000

    def __post_init__(self) -> None:
        choices = {
            "unknown": ("keep", "drop", "refuse"),
            "missing": ("drop", "none", "refuse"),
            "bounds": ("off", "warn", "dead-letter"),
        }
        check_choices(self, choices)
        check_counts(self, "max_features")


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Metrics of the model's answers.

    Parameters
    ----------
    metrics
        Function without arguments that returns a River metric or a sum of them. The default depends on the task.
    window
        Number of the newest examples in the "last N" metrics.
    """

    metrics: Callable[[], Any] | None = None
    window: int = 1000

    def __post_init__(self) -> None:
        if self.metrics is not None and not callable(self.metrics):
            raise InvalidStream(
                f"Evaluation: metrics={self.metrics!r:.60} must be a function that returns new metrics, such as "
                "lambda: metrics.F1()"
            )
        check_counts(self, "window")


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """Schedule of model versions, their retention, and the largest size.

    Parameters
    ----------
    every, examples
        A version is due after this time, or after this number of examples, whichever comes first: by default 500 ms
        and 50,000 examples; with the versions in an object store 30 s and no number of examples.
    keep
        Retention of old versions.
    max_bytes
        When a version's model reaches this size, learning stops and serving continues; by default there is no limit.
        Alerts are raised before.
    """

    every: Span | None = None
    examples: int | None = None
    keep: Retention = field(default_factory=Retention)
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        check_spans(self, "every")
        check_counts(self, "examples", "max_bytes")
        check_kind(self, "keep", Retention, "Retention(last=20)")

    def pace(self, *, remote: bool = False) -> tuple[float, int]:
        """Return seconds and examples between checkpoints; `remote` if versions go to an object store, at a price."""
        every, examples = (_EVERY_REMOTE, sys.maxsize) if remote else (_EVERY, _EXAMPLES)
        return milliseconds(every if self.every is None else self.every) / 1000, self.examples or examples


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Form of the records on the predictions topic, for external readers.

    Parameters
    ----------
    format
        ``avro`` (Millstream's own), ``json``, or ``registry`` (Avro, framed by a schema registry).
    features
        True if predictions contain the features as used.
    cloudevents
        The ``ce_source`` to write, which makes predictions CloudEvents (binary mode). Without it they are not.
    """

    format: Literal["avro", "json", "registry"] = "avro"
    features: bool = True
    cloudevents: str | None = None

    def __post_init__(self) -> None:
        check_choices(self, {"format": ("avro", "json", "registry"), "features": (True, False)})
        source = self.cloudevents
        if source is not None and not (isinstance(source, str) and source.strip()):
            raise InvalidStream(f"Predictions: cloudevents={source!r:.60} must say who sends them, such as '/fraud'")

    @property
    def public(self) -> bool:
        """True if external readers get predictions in another form than the roles."""
        return self.format != "avro" or not self.features


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Join:
    """Limits of the join of predictions with their labels.

    Parameters
    ----------
    dedup_window
        Time for which a joined id is remembered; by default the `wait` of `Labels`.
    max_pending
        Largest number of waiting events and labels in a partition; above it the faster topic is paused.
    snapshot_every
        Interval of the copies of waiting records to the model store, for a joiner whose disk is lost.
    """

    dedup_window: Span | None = None
    max_pending: int = 5_000_000
    snapshot_every: Span = "5m"

    def __post_init__(self) -> None:
        check_spans(self, "dedup_window", "snapshot_every")
        check_counts(self, "max_pending")

    @property
    def snapshot_every_ms(self) -> int:
        """`snapshot_every` in milliseconds."""
        return milliseconds(self.snapshot_every)


GROUPS: Final[Mapping[str, type]] = MappingProxyType(
    {
        "labels": Labels,
        "validation": Validation,
        "evaluation": Evaluation,
        "checkpoints": Checkpoints,
        "predictions": Predictions,
        "join": Join,
    }
)
"""Classes of the groups, by parameter of `Stream`."""
