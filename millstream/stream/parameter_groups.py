"""The groups of a stream's parameters, such as ``labels=Labels(wait="7d")``: all that a first stream can do without."""

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
    """Where labels come from, how long they are waited for, and what no label means.

    Parameters
    ----------
    wait
        How far apart the broker may see a prediction and its label for them to be joined.
    on_timeout
        Learned as the label where none came within `wait`; by default such events are dropped.
    sources
        `Source` of labels that come from somebody else's topics, or several. Labels on the stream's own topic are
        taken, too.

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
        """The `sources`, also where there is one."""
        return (self.sources,) if isinstance(self.sources, Source) else tuple(self.sources)

    @property
    def wait_ms(self) -> int:
        """`wait` in milliseconds."""
        return milliseconds(self.wait)


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Validation:
    """What becomes of features that are not in the contract, of missing values, and of numbers far outside.

    Parameters
    ----------
    unknown
        Features that are not in the contract, once it names some: ``drop`` them, ``keep`` them, or ``refuse`` the
        event.
    missing
        Null and NaN: ``drop`` the feature from the event, pass ``none`` to the model, or ``refuse`` the event. A
        `Feature` may say otherwise for itself.
    bounds
        A number far outside what its feature (or a number as the label) has been so far: nothing is done (``off``),
        the learner says so (``warn``) and learns it if the model bears it, or it is a ``dead-letter``. A `Feature` may
        say otherwise for itself.
    max_features
        How many features of one event the model may see; an event with more is refused. Features that the contract
        drops do not count.
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
    """What the model's answers are measured by.

    Parameters
    ----------
    metrics
        Called without arguments, returns a River metric or a sum of them. The default fits the task.
    window
        How many of the newest examples the "last N" metrics are over.
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
    """When a version of the model is written, which versions stay, and how large one may be.

    Parameters
    ----------
    every, examples
        A version is due after this span, or after so many examples, whichever comes first: 500 ms and 50,000
        unless given; with the versions in an object store 30 s, however many examples.
    keep
        Which old versions stay.
    max_bytes
        Where a version's model is as large as this, learning stops and serving goes on; by default no size is too
        large. Alerts come before.
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
        """Return seconds and examples between checkpoints; `remote` where versions go over a network, at a price."""
        every, examples = (_EVERY_REMOTE, sys.maxsize) if remote else (_EVERY, _EXAMPLES)
        return milliseconds(every if self.every is None else self.every) / 1000, self.examples or examples


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What others read on the predictions topic.

    Parameters
    ----------
    format
        ``avro`` (Millstream's own), ``json``, or ``registry`` (Avro, framed by a schema registry).
    features
        Whether predictions carry the features as used.
    cloudevents
        The ``ce_source`` to write: predictions are CloudEvents (binary mode) then. Without it they are none.
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
        """Whether others read predictions in another form than the loop does."""
        return self.format != "avro" or not self.features


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Join:
    """The join of predictions with their labels: what is remembered, and how much may wait.

    Parameters
    ----------
    dedup_window
        How long a joined id is remembered, the `wait` of `Labels` unless given.
    max_pending
        Events and labels that may wait at once, per partition; beyond it the faster topic is paused.
    snapshot_every
        How often what waits is copied beside the versions, for a joiner whose disk is lost.
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
"""By parameter of `Stream`."""
