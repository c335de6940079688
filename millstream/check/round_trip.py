"""A model tried out: built twice, taught, saved and loaded, and compared to the last bit."""

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
        Of the event, from 0.
    doing
        What it was asked for.
    """

    def __init__(self, number: int, doing: Literal["predict", "learn"], cause: Exception) -> None:
        super().__init__(f"{type(cause).__name__}: {cause}")
        self.number = number
        self.doing = doing
        self.cause = cause


_NONE: Final = "none: "


class Trial:
    """One stream's model on one set of examples. As in the roles, an event without a finite answer is learned."""

    def __init__(self, loaded: LoadedStream, examples: Sequence[SampleExample]) -> None:
        self._loaded = loaded
        self._task = loaded.stream.task
        self.examples = list(examples)

    def build(self) -> RiverModel:
        """Return a fresh model."""
        return wrap(self._loaded.fresh_model(), self._task)

    def load(self, data: bytes) -> RiverModel:
        """Return a saved model, through the restricted loader."""
        return wrap(restricted_pickle.loads(data, extra=self._loaded.allowed), self._task)

    def limit(self, seconds: float) -> None:
        """Shorten the examples to what a new model goes through in about `seconds`; some models slow down."""
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
            Events to predict, one before each example, whose answers nobody reads.

        Raises
        ------
        TrialError
            Where the model raises.
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
        """Return those events on which predicting does not raise, and what the first other one raised."""
        taken: list[Features] = []
        raised: str | None = None
        for features in events:
            try:
                model.predict(dict(features))
            except Exception as error:  # noqa: BLE001 - the model's own
                raised = raised or f"{type(error).__name__}: {error}"
            else:
                taken.append(features)
        return taken, raised

    def growth(self, data: bytes, events: Sequence[Features]) -> int:
        """Return by how many bytes a saved model grows when it predicts events."""
        model = self.load(data)
        # A pipeline plans its steps on the first call; that is not what is looked for.
        _ask(model, events[-1])
        before = len(restricted_pickle.dumps(model.model))
        for features in events:
            _ask(model, features)
        return len(restricted_pickle.dumps(model.model)) - before


def _ask(model: RiverModel, features: Features, *, untrained: bool = False) -> str:
    """Return an answer; where it is no finite number, or an untrained model raises, the reason why there is none."""
    try:
        return exact(model.predict(dict(features)))
    except ModelError as error:
        return f"{_NONE}{error}"
    except Exception as error:
        if untrained:
            return f"{_NONE}{type(error).__name__}: {error}"
        raise


def refuses_text(cause: Exception, texts: Sequence[str]) -> bool:
    """Tell whether an exception may be about what is in a text, and so say nothing of other texts.

    Not where any text, or an event of any content, would raise the same.
    """
    if not texts:
        return False
    if isinstance(cause, KeyError):  # a table of known words, or a feature that is not there
        return any(str(key) and str(key) in text for key in cause.args for text in texts)
    if isinstance(cause, (AttributeError, TypeError)):
        return "NoneType" in str(cause)  # as of a pattern that did not match
    own = type(cause).__module__.partition(".")[0] not in ("builtins", "river", "numpy")
    return own or isinstance(cause, (ValueError, IndexError))


def unanswered(answers: Sequence[str]) -> dict[int, str]:
    """Return the places of events without an answer, each with the reason."""
    return {place: each.removeprefix(_NONE) for place, each in enumerate(answers) if each.startswith(_NONE)}


def exact(answer: Answer) -> str:
    """Return an answer as text that differs where any bit of it does."""
    if answer.probabilities is None:
        return repr(answer.value)
    return repr((answer.value, sorted((repr(label), float(share)) for label, share in answer.probabilities.items())))


def differing(first: Sequence[Any], second: Sequence[Any]) -> int | None:
    """Return the first place where two rows of answers differ, `None` where there is none."""
    return next((number for number, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1]), None)
