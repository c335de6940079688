"""Answers of one challenger to several events; each event gets one, whatever the model does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final, NamedTuple

from consumers.model.river_model import Answer, ModelError, wire_value
from consumers.shadow.versions import ChallengerVersions, Knowledge
from runtime.exits import RoleFailure
from schemas.comparisons import MODEL_FAILED, NO_USABLE_VERSION, NO_VERSION, Challenger
from schemas.events import Features

_LONGS: Final = range(-(2**63), 2**63)
_FATAL: Final = (KeyboardInterrupt, SystemExit)
_DEATHS: Final = 3
"""Processes of a version that end in a row while they answer one event; only then it is the model's failure."""
_DEADLY: Final = 3
"""Events in a row on which that happens, after which the others are not asked: starting each process takes seconds."""


class Asked(NamedTuple):
    """An event to answer: the broker's time of its prediction (ms), and the features that were used for it."""

    time: int
    features: Features


def ask(versions: ChallengerVersions, model: str, several: Sequence[Asked]) -> list[Challenger]:
    """Return what a model would have answered to each event, in their order, with what it knew then.

    Raises
    ------
    Doubt
        If the store does not answer.
    """
    answers: list[Challenger] = []
    known = ((versions.at(model, asked.time), asked) for asked in several)
    for _, run in groupby(known, key=lambda pair: id(pair[0])):
        pairs = [*run]
        answers += _answers(versions, model, pairs[0][0], [asked for _, asked in pairs])
    return answers


def _answers(
    versions: ChallengerVersions, model: str, knows: Knowledge | None, several: Sequence[Asked]
) -> list[Challenger]:
    """Return the answers of one version."""
    if knows is None:
        return [_without_version(versions, model, asked) for asked in several]
    try:
        knows.face.ahead([asked.features for asked in several])
        return [_answer(model, knows, asked) for asked in several]
    except RoleFailure:
        # The version's process is gone. That tells nothing of the model, and not which event it was answering.
        versions.discard(model)
    return _one_by_one(versions, model, several)


def _one_by_one(versions: ChallengerVersions, model: str, several: Sequence[Asked]) -> list[Challenger]:
    """Return the answers of a version whose process has ended, asking for each event alone."""
    answers: list[Challenger] = []
    deadly = 0
    for asked in several:
        knows = versions.at(model, asked.time)
        if knows is None:
            answers.append(_without_version(versions, model, asked))
            continue
        answer = _answer_again(versions, model, asked) if deadly < _DEADLY else None
        deadly = deadly + 1 if answer is None else 0
        answers.append(_failed(model, knows, asked) if answer is None else answer)
    return answers


def _answer_again(versions: ChallengerVersions, model: str, asked: Asked) -> Challenger | None:
    """Return the answer to one event; `None` if process after process ends while it answers."""
    for _ in range(_DEATHS):
        knows = versions.at(model, asked.time)
        if knows is None:
            return _without_version(versions, model, asked)
        try:
            return _answer(model, knows, asked)
        except RoleFailure:
            versions.discard(model)
    return None


def _without_version(versions: ChallengerVersions, model: str, asked: Asked) -> Challenger:
    why = NO_USABLE_VERSION if versions.was_announced(model, asked.time) else NO_VERSION
    return Challenger(model, -1, -1, -1, None, None, why)


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
