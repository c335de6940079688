"""Rows of one model by stages: the same steps as row by row, with the same results, in less time.

A chunk of rows is read and checked, then the model answers and learns, then the metrics are computed. Code and data of
one stage fit into the processor's caches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from consumers.model.baselines import Graded
from consumers.model.model_state import Plain
from millstream.evaluation.rows import Row, Served
from millstream.evaluation.trial import Broken, Trial
from schemas.fast_examples import FastExample

_TOGETHER: Final = 512


@dataclass(slots=True)
class Event:
    """One row on its way: first the model is asked, if labels come late, and then it learns the label.

    Attributes
    ----------
    times
        When the event came, and when its label does; on a log the broker's times.
    pending
        The model is to be asked, and has not been yet.
    """

    row: Row
    times: tuple[int, int] | None
    asked: Served | None = None
    pending: bool = False


class Stages:
    """Collects steps, and takes them by stages.

    Parameters
    ----------
    key
        Returns the slice of a row; `None` without slices.
    room
        Returns the number of rows that can be measured before `count` must be called.
    count
        Called with the number of rows that were measured.
    """

    def __init__(
        self, trial: Trial, key: Callable[[Row], str] | None, room: Callable[[], int], count: Callable[[int], None]
    ) -> None:
        self._trial = trial
        self._key = key
        self._room = room
        self._count = count
        self._steps: list[Event] = []
        self._odd: FastExample | None = None

    def ask(self, event: Event) -> None:
        """Have the model answer an event when it comes."""
        event.pending = True
        self._add(event)

    def learn(self, event: Event) -> None:
        """Have the model learn an event's label."""
        if event.pending:
            self.finish()  # whether it is learned depends on the answer
        self._add(event)

    def _add(self, event: Event) -> None:
        self._steps.append(event)
        if len(self._steps) >= _TOGETHER:
            self.finish()

    def finish(self) -> None:
        """Take all collected steps. Raises Broken."""
        steps, self._steps = self._steps, []
        at = 0
        while at < len(steps):
            at = self._take_plain(steps, at)
            if at < len(steps) and self._odd is not None:
                row = steps[at].row
                if self._trial.take(row, self._odd, None if self._key is None else self._key(row)):
                    self._count(1)
                at += 1
        self._trial.settle()

    def _take_plain(self, steps: list[Event], at: int) -> int:
        """Take the steps up to the first row that is more than learned; return its index. `_odd` is its example."""
        trial, rows, asks = self._trial, list[Row](), list[tuple[int, int, Event]]()
        self._odd = None

        def entries() -> Iterator[FastExample]:
            nonlocal at
            while at < len(steps):
                event = steps[at]
                if event.pending:
                    asks.append((len(rows), at, event))
                elif not trial.skips(event.asked):
                    trial.step = at
                    self._odd = trial.entry(event.row, event.asked, event.times)
                    if self._odd is not None:
                        yield self._odd
                        rows.append(event.row)
                at += 1
            self._odd = None

        several = entries()
        plain = trial.state.admit_plain(several)
        if self._odd is None:
            next(several, None)  # a model that has learned nothing yet takes none by stages
        upcoming = iter(asks)
        following = next(upcoming, None)

        def ask(index: int) -> None:
            nonlocal following
            while following is not None and following[0] <= index:
                _, trial.step, event = following
                event.asked, event.pending = trial.ask(event.row), False
                following = next(upcoming, None)

        graded, poison = trial.state.learn_plain(plain, ask if asks else None)
        self._note(rows, plain, graded)
        if poison is not None:
            raise Broken(trial, rows[poison.at].number, poison.reason) from poison
        ask(len(plain))
        trial.step = at
        return at

    def _note(self, rows: list[Row], plain: list[Plain], graded: list[Graded]) -> None:
        at = 0
        while at < len(graded):
            end = min(at + self._room(), len(graded))
            keys = () if self._key is None else map(self._key, rows[at:end])
            self._trial.note(rows[at:end], plain[at:end], graded[at:end], keys)
            self._count(end - at)
            at = end
