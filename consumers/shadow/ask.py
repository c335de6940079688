"""Answers of one challenger to several events; each event gets one, whatever the model does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

from consumers.model.river_model import Answer, ModelError, wire_value
from consumers.shadow.versions import ChallengerVersions, Knowledge
from runtime.exits import RoleFailure
from schemas.comparisons import MODEL_FAILED, Challenger
from schemas.events import Features

NO_VERSION: Final = "no-version"
"""Error of a challenger that had no usable version when the prediction was made."""
_LONGS: Final = range(-(2**63), 2**63)
_FATAL: Final = (KeyboardInterrupt, SystemExit)


class Asked(NamedTuple):
    """An event to answer: the broker's time of its prediction (ms), and the features that were used for it."""

    time: int
    features: Features


def ask(versions: ChallengerVersions, model: str, several: Sequence[Asked]) -> list[Challenger]:
    """Return what a model would have answered to each event, in their order, with what it knew then.

    Raises
    ------
    Doubt
        If the store does not answer, or the process of a large version does not start again.
    """
    answers: list[Challenger] = []
    known = ((versions.at(model, asked.time), asked) for asked in several)
    for _, run in groupby(known, key=lambda pair: id(pair[0])):
        pairs = [*run]
        answers += _answers(model, pairs[0][0], [asked for _, asked in pairs])
    return answers


def _answers(model: str, knows: Knowledge | None, several: Sequence[Asked]) -> list[Challenger]:
    """Return the answers of one version."""
    if knows is None:
        return [Challenger(model, -1, -1, -1, None, None, NO_VERSION)] * len(several)
    knows.face.ahead([asked.features for asked in several])
    return [_answer(model, knows, asked) for asked in several]


def _answer(model: str, knows: Knowledge, asked: Asked) -> Challenger:
    version = knows.version
    try:
        answer = knows.face.predict(asked.features)
        value, shares = _checked(answer), answer.wire_probabilities()
    except (*_FATAL, RoleFailure):
        raise
    except BaseException:  # noqa: BLE001 - River's compiled parts panic with a BaseException
        if version.examples:
            return _failed(model, knows, asked)
        # An untrained model that raises has no answer yet, as when it serves.
        value = shares = None
    return Challenger(model, version.epoch, version.examples, asked.time - knows.announced, value, shares)


def _checked(answer: Answer) -> bool | int | float | str | None:
    """Return the value of an answer. Raises ModelError if no record can hold it."""
    value = wire_value(answer.value)
    if isinstance(value, dict) or (isinstance(value, int) and value not in _LONGS):
        raise ModelError(f"the model answered with {value!r:.60}")
    return value


def _failed(model: str, knows: Knowledge, asked: Asked) -> Challenger:
    version = knows.version
    return Challenger(model, version.epoch, version.examples, asked.time - knows.announced, None, None, MODEL_FAILED)
