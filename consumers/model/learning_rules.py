"""Rules by which a stream learns, and what an example that cannot be learned raises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from schemas.contract import Contract
from schemas.events import Features, Scalar
from schemas.fast_examples import FastExample
from schemas.target import Target, TargetError


class Poison(Exception):  # noqa: N818
    """The model raised on an example and may have learned half of it: restore the state and skip the example.

    Attributes
    ----------
    at
        Index of the example among those that were applied by one call.
    """

    def __init__(self, reason: str, at: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.at = at


class Unfit(Exception):  # noqa: N818
    """An example that must not reach the model; it was noted as skipped, nothing else has changed."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def described(error: Exception, features: Features) -> str:
    """Return the error of a model that was given these features, in words."""
    return f"{type(error).__name__}: {error}{_texts_among(error, features)}"


def _texts_among(error: Exception, features: Features) -> str:
    """Name the text features on which a model for numbers may have failed."""
    texts = [name for name, value in features.items() if isinstance(value, str)]
    if not texts or not isinstance(error, TypeError):
        return ""
    named = ", ".join(texts[:3]) + (", ..." if len(texts) > 3 else "")
    return f" (features that are texts: {named}; River's OneHotEncoder or a Select takes them in or leaves them out)"


@dataclass(frozen=True)
class LearningRules:
    """Rules by which a stream learns.

    Attributes
    ----------
    make_model, make_metrics
        Create the model and the metrics; `None` means the default metrics of the task.
    window
        Number of newest examples that the "last" metrics cover.
    """

    target: Target
    contract: Contract
    make_model: Callable[[], Any]
    make_metrics: Callable[[], Iterable[Any]] | None
    window: int
    learn_from_events: bool = False

    def fit(self, entry: FastExample) -> tuple[Features, Scalar | None]:
        """Return features and label in the form in which the model learns them.

        Raises
        ------
        ContractError, TargetError
            If the rules refuse them.
        """
        features = self.contract.apply(entry.features)
        truth = None if entry.label is None else self.target.of_log(entry.label)
        if truth is None and not self.learn_from_events:
            raise TargetError("the example has no label")
        return features, truth
