"""Trial of a model: it is built twice, trained, saved and loaded, and compared to the last bit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, Literal

from consumers.model.river_model import Answer, ModelError, RiverModel, wrap
from millstream.check.sample_events import SampleExample
from millstream.stream.load import LoadedStream
from model_store import restricted_pickle
from schemas.events import Features

_LEAST: Final = 60
_STEP: Final = 10


class TrialError(Exception):
    """The model raised on an event.

    Attributes
    ----------
    number
        Number of the event, from 0.
    doing
        The operation that raised.
    """

    def __init__(self, number: int, doing: Literal["predict", "learn"], cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.number = number
        self.doing = doing
        self.cause = cause


_NONE: Final = "none: "


class Trial:
    """Trial of a stream's model on a set of examples. As in the roles, an event without a finite answer is learned."""

    def __init__(self, loaded: LoadedStream, examples: Sequence[SampleExample]) -> None:
        self._loaded = loaded
        self._task = loaded.stream.task
        self.examples = list(examples)

    def build(self) -> RiverModel:
        """Return a fresh model."""
        return wrap(self._loaded.fresh_model(), self._task)

    def load(self, data: bytes) -> RiverModel:
        """Load a saved model through the restricted loader."""
        return wrap(restricted_pickle.loads(data, extra=self._loaded.allowed), self._task)

    def limit(self, seconds: float) -> None:
        """Keep only the examples that a new model handles in about `seconds`; some models slow down."""
        model = self.build()
        begun = time.monotonic()
        for number in range(0, len(self.examples), _STEP):
            self.run(model, number, number + _STEP)
            if time.monotonic() - begun > seconds:
                del self.examples[max(_LEAST, number + _STEP) :]
                return

    def run(
        self, model: RiverModel, begin: int = 0, end: int | None = None, between: Sequence[Features] = ()
    ) -> list[str]:
        """Predict and learn the examples in turn; return the answers with all their digits.

        Parameters
        ----------
        between
            Events to predict, one before each example; their answers are ignored.

        Raises
        ------
        TrialError
            If the model raises.
        """
        answers = []
        doing: Literal["predict", "learn"] = "predict"
        for number, example in enumerate(self.examples[begin:end], start=begin):
            try:
                doing = "predict"
                if between:
                    _ask(model, between[number % len(between)])
                answers.append(_ask(model, example.features, untrained=number == 0))
                doing = "learn"
                model.learn(dict(example.features), example.label, 1.0)
            except Exception as error:
                raise TrialError(number, doing, error) from error
        return answers

    def predictable(self, model: RiverModel, events: Sequence[Features]) -> tuple[list[Features], str | None]:
        """Return the events on which predicting does not raise, and the first exception of the others."""
        taken: list[Features] = []
        raised: str | None = None
        for features in events:
            try:
                model.predict(dict(features))
            except Exception as error:  # noqa: BLE001 - the model may raise anything
                raised = raised or f"{type(error).__name__}: {error}"
            else:
                taken.append(features)
        return taken, raised

    def growth(self, data: bytes, events: Sequence[Features]) -> int:
        """Return the number of bytes by which a saved model grows when it predicts events."""
        model = self.load(data)
        # A pipeline plans its steps on the first call; that growth must not count.
        _ask(model, events[-1])
        before = len(restricted_pickle.dumps(model.model))
        for features in events:
            _ask(model, features)
        return len(restricted_pickle.dumps(model.model)) - before


def _ask(model: RiverModel, features: Features, *, untrained: bool = False) -> str:
    """Return an answer, or the reason for a missing one: not finite, or an untrained model raised."""
    try:
        return exact(model.predict(dict(features)))
    except ModelError as error:
        return f"{_NONE}{error}"
    except Exception as error:
        if untrained:
            return f"{_NONE}{type(error).__name__}: {error}"
        raise


def refuses_text(cause: Exception, texts: Sequence[str]) -> bool:
    """Return whether an exception may concern a text's content, so that other texts may succeed.

    False if any text, or an event of any content, would raise the same.
    """
    if not texts:
        return False
    if isinstance(cause, KeyError):  # a table of known words, or a missing feature
        return any(str(key) and str(key) in text for key in cause.args for text in texts)
    if isinstance(cause, (AttributeError, TypeError)):
        return "NoneType" in str(cause)  # as of a pattern that did not match
    own = type(cause).__module__.partition(".")[0] not in ("builtins", "river", "numpy")
    return own or isinstance(cause, (ValueError, IndexError))


def unanswered(answers: Sequence[str]) -> dict[int, str]:
    """Return the positions of events without an answer, each with the reason."""
    return {place: each.removeprefix(_NONE) for place, each in enumerate(answers) if each.startswith(_NONE)}


def exact(answer: Answer) -> str:
    """Return an answer as text that is equal only if every bit of the answer is equal."""
    if answer.probabilities is None:
        return repr(answer.value)
    return repr((answer.value, sorted((repr(label), float(share)) for label, share in answer.probabilities.items())))


def differing(first: Sequence[Any], second: Sequence[Any]) -> int | None:
    """Return the first position at which two lists of answers differ, `None` if they are equal."""
    return next((number for number, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1]), None)
