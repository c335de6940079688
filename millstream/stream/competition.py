"""Parameters of several models on one stream: `Model`, `Promote`, `Guard`, `Cost`, and slices."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from millstream.stream.duration import milliseconds
from millstream.stream.errors import InvalidStream
from millstream.stream.parameter_checks import (
    check_counts,
    check_kind,
    check_model_name,
    check_number,
    check_spans,
    known_parameters,
)
from millstream.stream.parameter_groups import Span
from millstream.stream.slices import Slice, check_texts
from schemas.model_names import MAIN
from schemas.target import Task

MOST_MODELS: Final = 16
MOST_SLICES: Final = 32

LossName = Literal["error", "brier", "log_loss", "absolute"]
Loss = Callable[[Any, Any], float]

LOSSES: Final[Mapping[str, tuple[Task, ...]]] = MappingProxyType(
    {
        "error": ("binary", "multiclass"),
        "brier": ("binary", "multiclass"),
        "log_loss": ("binary", "multiclass"),
        "absolute": ("regression",),
    }
)
"""Tasks of each loss, by its name."""


@dataclass(frozen=True, init=False)
class Model:
    """One of a stream's models.

    Parameters
    ----------
    make
        Called without arguments, returns a new River model.
    sees
        Names of the features that it is given; `None` means all. A feature that is added to the contract later then
        does not change this model.

    Examples
    --------
    >>> from river import tree
    >>> Model(lambda: tree.HoeffdingTreeClassifier(), sees=["amount", "country"]).sees
    ('amount', 'country')
    """

    make: Callable[[], Any]
    sees: tuple[str, ...] | None

    def __init__(self, make: Callable[[], Any], sees: Collection[str] | None = None) -> None:
        if not callable(make):
            raise InvalidStream("Model: make must be a function that returns a new model, such as lambda: ...")
        if isinstance(sees, str) or not (sees is None or all(isinstance(name, str) for name in sees)):
            raise InvalidStream(f"Model: sees={sees!r:.60} must be names of features, such as ['amount', 'country']")
        if sees is not None and not sees:
            raise InvalidStream("Model: sees=[] leaves the model without features; leave it out to give it all")
        object.__setattr__(self, "make", make)
        object.__setattr__(self, "sees", None if sees is None else tuple(sorted(set(sees))))

    def __call__(self) -> Any:
        """Return a new model."""
        return self.make()


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Cost:
    """A loss in money: the cost of each kind of wrong decision of a binary model.

    >>> Cost(false_positive=1, false_negative=50).most
    50.0
    """

    false_positive: float
    false_negative: float

    def __post_init__(self) -> None:
        for name in ("false_positive", "false_negative"):
            check_number(self, name, above=0.0)

    @property
    def most(self) -> float:
        """The largest loss of one event."""
        return float(max(self.false_positive, self.false_negative))


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Guard:
    """When serving goes back to the former model by itself.

    Parameters
    ----------
    at_least
        By how much the former model's mean loss must be lower, at the level `alpha` of `Promote`.
    settle
        As `settle` of `Promote`, which is the default.
    errors
        Largest share of events that the promoted model may fail to answer. Serving goes back when the share is larger
        at the level `alpha`: nine failures in a row are enough for 0.01, three are not.
    """

    at_least: float = 0.0
    settle: Span | None = None
    errors: float = 0.01

    def __post_init__(self) -> None:
        check_number(self, "at_least", least=0.0)
        check_number(self, "errors", above=0.0, most=1.0)
        check_spans(self, "settle")


@known_parameters()
@dataclass(frozen=True, kw_only=True)
class Promote:
    """The rule by which a challenger becomes the serving model.

    Parameters
    ----------
    loss
        ``error`` (1 for a wrong class), ``brier``, ``log_loss`` (probabilities are clipped at 0.001), ``absolute`` (for
        regression; needs `most`), a `Cost`, or ``function(label, answer) -> float`` (needs `most`). `answer` is the
        prediction of a regression or the score of an anomaly, otherwise the probabilities by class.
    most
        Largest loss of one event; a larger one counts as this. An event without an answer costs it.
    at_least
        By how much the challenger's mean loss must be lower.
    alpha
        Largest probability that any challenger that is not better by `at_least` is promoted in a contest.
    labels
        Least number of labelled events before a promotion. The guard may return serving before; a wrong return has at
        most the probability `alpha` for every 2.5 times `labels` events.
    contest
        Length of a contest; a new one begins after it, and with every other serving model.
    settle
        An event counts when this time has passed since its prediction, by the labels' clock, so that quick labels do
        not outvote slow ones. The default is the label wait.
    guard
        When the promotion is taken back.
    """

    loss: LossName | Cost | Loss = "error"
    most: float | None = None
    at_least: float = 0.0
    alpha: float = 0.05
    labels: int = 1000
    contest: Span = "7d"
    settle: Span | None = None
    guard: Guard = Guard()

    def __post_init__(self) -> None:
        if isinstance(self.loss, str) and self.loss not in LOSSES:
            raise InvalidStream(
                f"Promote: loss={self.loss!r:.60} must be one of {', '.join(LOSSES)}, a Cost or a function"
            )
        if not isinstance(self.loss, (str, Cost)) and not callable(self.loss):
            raise InvalidStream(f"Promote: loss={self.loss!r:.60} must be a name, a Cost(...) or a function")
        needs_most = self.loss == "absolute" or (callable(self.loss) and not isinstance(self.loss, Cost))
        if needs_most and self.most is None:
            raise InvalidStream("Promote: this loss has no bound of its own: add most=, the largest loss of one event")
        if not needs_most and self.most is not None:
            raise InvalidStream(
                f"Promote: most= is for loss='absolute' and functions; {self.loss!r:.40} has its own bound"
            )
        if self.most is not None:
            check_number(self, "most", above=0.0)
        check_number(self, "at_least", least=0.0)
        check_number(self, "alpha", above=0.0, below=1.0)
        check_counts(self, "labels")
        check_spans(self, "contest", "settle")
        check_kind(self, "guard", Guard, "Guard(errors=0.01)")

    @property
    def contest_ms(self) -> int:
        """`contest` in milliseconds."""
        return milliseconds(self.contest)

    def settle_ms(self, wait_ms: int) -> int:
        """Return `settle` in milliseconds; `wait_ms` is the stream's label wait, its default."""
        return wait_ms if self.settle is None else milliseconds(self.settle)


def check_models(models: Mapping[str, Model], stream: str) -> None:
    """Raise InvalidStream unless the names and kinds of the named models are valid."""
    if not isinstance(models, Mapping):
        raise InvalidStream(f"Stream: models={models!r:.60} must name models, such as {{'forest': Model(lambda: ...)}}")
    if len(models) > MOST_MODELS:
        raise InvalidStream(f"Stream: models= has {len(models)}; at most {MOST_MODELS} learn beside the stream's own")
    for name, model in models.items():
        check_model_name("models", name)
        if name in (MAIN, stream):
            raise InvalidStream(f"Stream: models={name!r}: that name means the stream's own model, model=")
        if not isinstance(model, Model):
            raise InvalidStream(f"Stream: models={name!r} must be Model(...), such as Model(lambda: ...)")


def check_promote(promote: Promote | None, task: Task, models: Collection[str]) -> None:
    """Raise InvalidStream unless the rule fits the task and has models to choose from."""
    if promote is None:
        return
    if not isinstance(promote, Promote):
        raise InvalidStream(f"Stream: promote={promote!r:.60} must be Promote(...), such as Promote(loss='brier')")
    if not models:
        raise InvalidStream("Stream: promote= needs models= or batch=, of which one could be promoted")
    loss = promote.loss
    if task == "anomaly" and not callable(loss):
        raise InvalidStream("Stream: promote=Promote(loss=...) must be a function for task='anomaly'")
    if isinstance(loss, Cost) and task != "binary":
        raise InvalidStream(f"Stream: promote=Promote(loss=Cost(...)) is for task='binary', not {task!r}")
    if isinstance(loss, str) and task not in LOSSES[loss]:
        fit = [name for name, tasks in LOSSES.items() if task in tasks]
        raise InvalidStream(f"Stream: promote=Promote(loss={loss!r}) is not for task={task!r}; use {' or '.join(fit)}")


def check_slices(slices: Mapping[str, Slice], private: Collection[str] = ()) -> None:
    """Raise InvalidStream unless each slice is a comparison, the name of a feature that is shown, or a function."""
    if not isinstance(slices, Mapping):
        raise InvalidStream(f"Stream: slices={slices!r:.60} must name slices, such as {{'large': 'amount > 1000'}}")
    if len(slices) > MOST_SLICES:
        raise InvalidStream(f"Stream: slices= has {len(slices)}; at most {MOST_SLICES} are kept apart")
    for name, said in slices.items():
        if not isinstance(name, str) or not name.strip():
            raise InvalidStream(f"Stream: slices={name!r:.60} must be named with a text")
        if not (isinstance(said, str) and said.strip()) and not callable(said):
            raise InvalidStream(
                f"Stream: slices[{name!r}]={said!r:.60} must be a comparison ('amount > 1000'), a feature or a function"
            )
    check_texts(slices, private)
