"""Comparison of a trained model with what served: loss, metrics and slices, with intervals."""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from consumers.model.evaluation import Board, default_metrics
from consumers.model.river_model import NO_ANSWER, RiverModel
from consumers.referee.losses import Loss, LossRule
from millstream.estimators.fitting import Numbers
from millstream.estimators.trial import Served, answers_of
from millstream.evaluation.intervals import LEAST_BLOCKS, MOST_BLOCKS, Estimate, estimate
from millstream.stream.processor_rules import learning_rules
from millstream.stream.promotion_rule import loss_rule
from millstream.stream.slices import SliceValues
from millstream.stream.stream import Stream
from millstream.training.asking_now import AskNow, CannotAsk, Unserved
from millstream.training.examples import Examples
from schemas.events import Scalar

_TIMES: Final = 3


class Measured(msgspec.Struct, frozen=True, omit_defaults=True):
    """One group of examples: the loss and the metrics of the new model, and those of what served.

    Attributes
    ----------
    gain
        Loss of what served minus that of the new model on the same examples: above 0 the new one is better.
    """

    slice: str
    events: int
    loss: Estimate
    metrics: dict[str, float | None]
    served_loss: Estimate | None = None
    served_metrics: dict[str, float | None] = {}
    gain: Estimate | None = None


class Comparison(msgspec.Struct, frozen=True):
    """Result of the test on the newest examples.

    Attributes
    ----------
    by
        The loss: that of the stream's `promote`, else the share of wrong classes or the distance of numbers.
    tested
        The new model on all examples of the test part.
    compared
        Both on those of them that were served, or about which what serves could be asked now.
    slices
        Both by slice, the largest first.
    from_ms, to_ms
        Broker's times of the first and the last prediction of the test part.
    answers
        Hash of the new model's answers to all of the test part, in full precision.
    asked, asked_now, seen
        What was asked now, as people write it; on how many of the compared examples; and how many others were left out
        because it has learned them.
    not_asked
        Why nothing was asked now although no answer was served for some; empty if it was.
    """

    by: str
    tested: Measured
    compared: Measured | None
    slices: list[Measured]
    from_ms: int
    to_ms: int
    answers: str = ""
    asked: str = ""
    asked_now: int = 0
    seen: int = 0
    not_asked: str = ""

    def better(self, at_least: float) -> bool | None:
        """Return whether the whole interval of the gain lies above `at_least`; `None` if nothing was compared."""
        if self.compared is None or self.compared.gain is None:
            return None
        low = self.compared.gain.low
        return low is not None and low > at_least


class _Rows(NamedTuple):
    """The test part: truths, both models' answers, and the losses."""

    truths: Sequence[Scalar]
    new: Sequence[Served | None]
    served: Sequence[Served | None]
    times: Sequence[tuple[int, int]]
    new_losses: Numbers
    served_losses: Numbers  # NaN where nothing was served


def compare(
    stream: Stream, examples: Examples, test: Numbers, face: RiverModel, ask_now: AskNow | None = None
) -> Comparison:
    """Return the comparison of a model with what served.

    Parameters
    ----------
    stream
        The stream, with the batch model as its model.
    test
        Indexes of the newest examples, in the order of their predictions. Each counts with its last label.
    ask_now
        Asks what serves about those for which no answer was served; without it they are not compared.
    """
    indexes = test.tolist()
    rule = rule_of(stream)
    loss = Loss(rule)
    truths, _ = examples.known_at(indexes, None)
    new = answers_of(face, [examples.features[each] for each in indexes])
    served = [examples.served[each] for each in indexes]
    now = _ask(examples, indexes, served, ask_now)
    rows = _Rows(
        truths,
        new,
        served,
        [(examples.predicted[each], examples.labelled[each]) for each in indexes],
        np.array([loss_of(loss, truth, answer) for truth, answer in zip(truths, new, strict=True)]),
        np.array(
            [
                math.nan if answer is None else loss_of(loss, truth, answer)
                for truth, answer in zip(truths, served, strict=True)
            ]
        ),
    )
    measure = _Measuring(stream, rows)
    paired = np.flatnonzero(~np.isnan(rows.served_losses))
    return Comparison(
        rule.kind,
        measure.alone("all", np.arange(len(indexes))),
        measure.both("all", paired) if len(paired) else None,
        [measure.both(name, chosen) for name, chosen in _sliced(examples, indexes, paired)],
        rows.times[0][0],
        rows.times[-1][0],
        hashlib.blake2b(repr(new).encode(), digest_size=32).hexdigest(),
        **now,
    )


def _ask(
    examples: Examples, indexes: Sequence[int], served: list[Served | None], ask_now: AskNow | None
) -> dict[str, Any]:
    """Fill in the answers that were not served, as they are now; return what the comparison says of that."""
    places = [place for place, answer in enumerate(served) if answer is None]
    if not places or ask_now is None:
        return {}
    several = []
    for index in (indexes[place] for place in places):
        features = examples.whole.get(index, examples.features[index])
        several.append(Unserved(examples.offsets[index], examples.predicted[index], examples.labelled[index], features))
    try:
        name, answers = ask_now(several)
    except CannotAsk as error:
        return {"not_asked": str(error)}
    for place, answer in zip(places, answers, strict=True):
        served[place] = answer
    count = sum(answer is not None for answer in answers)
    return {"asked": name, "asked_now": count, "seen": len(places) - count}


def rule_of(stream: Stream) -> LossRule:
    """Return the loss that a stream's models are compared by; for numbers without one, their distance."""
    return loss_rule(stream) or LossRule(stream.target, "absolute", most=math.inf)


def loss_of(loss: Loss, truth: Scalar, answer: Served | None) -> float:
    """Return the loss of an answer as it was sent; `None` is none."""
    return loss(truth, None, None, True) if answer is None else loss(truth, *answer)


def _sliced(examples: Examples, indexes: Sequence[int], paired: Numbers) -> list[tuple[str, Numbers]]:
    values, found = SliceValues(), dict[str, list[int]]()
    for place in paired.tolist():
        for name, value in examples.slices[indexes[place]].items():
            found.setdefault(f"{name}: {values.kept(name, value)}", []).append(place)
    return [(name, np.array(found[name])) for name in sorted(found, key=lambda name: (-len(found[name]), name))]


class _Measuring:
    """Measures groups of rows."""

    def __init__(self, stream: Stream, rows: _Rows) -> None:
        make = learning_rules(stream).make_metrics
        self._task = stream.task
        self._metrics = (lambda: default_metrics(stream.task)) if make is None else make
        self._rows = rows

    def alone(self, name: str, chosen: Numbers) -> Measured:
        """Return the measures of the new model alone."""
        rows = self._rows
        return Measured(
            name, len(chosen), mean_with_interval(rows.new_losses[chosen]), self._metrics_of(rows.new, chosen)
        )

    def both(self, name: str, chosen: Numbers) -> Measured:
        """Return the measures of both models on rows that were served."""
        rows = self._rows
        return Measured(
            name,
            len(chosen),
            mean_with_interval(rows.new_losses[chosen]),
            self._metrics_of(rows.new, chosen),
            mean_with_interval(rows.served_losses[chosen]),
            self._metrics_of(rows.served, chosen),
            mean_with_interval(rows.served_losses[chosen] - rows.new_losses[chosen]),
        )

    def _metrics_of(self, answers: Sequence[Served | None], chosen: Numbers) -> dict[str, float | None]:
        board = Board(self._task, self._metrics, window=1)
        for place in chosen.tolist():
            sent = answers[place] or (None, None)
            board.add(self._rows.truths[place], NO_ANSWER, sent, self._rows.times[place])
        return board.tallies()["served"].values()


def mean_with_interval(values: Numbers) -> Estimate:
    """Return a mean with its interval, by blocks of consecutive rows.

    Labels of one time are alike, and so are a model's errors. Blocks that are shorter than this lasts would give an
    interval that is too narrow: up to one in three models would be found better than one that is equal. So they are
    three times as long, and too few of them give no interval.
    """
    count = len(values)
    mean = math.fsum(values) / count if np.isfinite(values).all() and _can_add(values) else math.nan
    if not math.isfinite(mean):
        return Estimate(None)
    blocks = min(MOST_BLOCKS, int(count / (_TIMES * _alike(values))))
    if blocks < LEAST_BLOCKS:
        return Estimate(mean)
    block = np.arange(count) * blocks // count
    sums, counts = np.bincount(block, values), np.bincount(block)
    left_out: Any = (float(sums.sum()) - sums) / (count - counts)
    return estimate(mean, [float(each) for each in left_out])


def _can_add(values: Numbers) -> bool:
    return float(np.abs(values).max(initial=0.0)) < sys.float_info.max / len(values)


def _alike(values: Numbers) -> float:
    """Return for how many rows values stay alike, at least 1: their integrated autocorrelation time.

    Pairs of correlations are added up to the first that is not positive: C. Geyer, "Practical Markov Chain Monte
    Carlo", Statistical Science 7, 1992.
    """
    apart = values - values.mean()
    largest, found = float(np.abs(apart).max()), 1.0
    if largest == 0.0:
        return found
    apart /= largest  # so that squares of large numbers stay finite
    squares = float(apart @ apart)
    for lag in range(1, len(values) // 2 - 1, 2):
        pair = float(apart[:-lag] @ apart[lag:] + apart[: -lag - 1] @ apart[lag + 1 :])
        if pair <= 0.0:
            break
        found += 2 * pair / squares
    return found
