"""Progressive and delayed evaluation of several models on the same rows.

Without a delay, each row is predicted and then learned. With one, a row is predicted when it comes, and learned when
its label comes; just before that it is predicted again. The order is that of River's `stream.simulate_qa`: before a row
is predicted, labels that are due by then are learned, in the order of the rows; at the end the remaining labels are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from consumers.model.evaluation import default_metrics
from consumers.model.metric_totals import Totals
from millstream.evaluation.blocks import Blocks
from millstream.evaluation.rows import Refusals, Row, Rows, Served
from millstream.evaluation.slices import Slices
from millstream.evaluation.stages import Event, Stages
from millstream.evaluation.trial import Broken, Trial
from millstream.stream.duration import milliseconds
from millstream.stream.processor_rules import learning_rules
from millstream.stream.stream import Stream

_MOST_BROKEN: Final = 20
_SHOW_EVERY: Final = 512
Progress = Callable[[int, int | None], None]


class CannotEvaluate(Exception):  # noqa: N818
    """These models cannot be evaluated on these rows; the message says why, and what would help."""


@dataclass(frozen=True)
class Delay:
    """Delay of the labels: a number of events, or ms of the events' own time."""

    text: str
    events: int = 0
    ms: int = 0

    @classmethod
    def parse(cls, given: str | int | None) -> Delay | None:
        """Read ``50`` or ``1h``; `None` and ``0`` mean no delay. Raises InvalidDuration."""
        text = "" if given is None else str(given).strip()
        if text in ("", "0"):
            return None
        if text.isdigit():
            return cls(text, events=int(text))
        ms = milliseconds(text)
        return cls(text, ms=ms) if ms else None

    def moment(self, row: Row, ordinal: int, before: int) -> int:
        """Return the moment at which a row comes, in the unit of the delay; `before` is that of the row before it."""
        if self.events:
            return ordinal
        return before if row.time_ms is None else row.time_ms


def _known_at(row: Row, ordinal: int) -> tuple[int, int] | None:
    """Return when a row and its label came: on a log the baselines know the labels that had come, as in a learner."""
    return row.times if row.weight is not None else (ordinal, ordinal)


class Named(NamedTuple):
    """A stream and its name in the report."""

    name: str
    stream: Stream


class _Waiting(NamedTuple):
    rows: tuple[Row, ...]
    asked: list[Served | None]
    asked_at: int
    due: int


class Evaluation:
    """One evaluation: passes along the rows until no row breaks a model.

    Attributes
    ----------
    trials
        One for each model, in order.
    blocks
        Totals after each block of measured rows, by model and source.
    unreadable
        Rows that not every stream can read.
    """

    def __init__(
        self, models: Sequence[Named], rows: Rows, delay: Delay | None, by: str | None, progress: Progress
    ) -> None:
        if not models:
            raise CannotEvaluate("no model is named")
        self.models = models
        self.rows = rows
        self.delay = delay
        self._progress = progress
        self._insist_on_alike()
        if delay is not None and delay.ms and not rows.has_times:
            raise CannotEvaluate(
                f"--label-delay {delay.text} needs the time of each event: name its column in the stream file (time=), "
                "or give the delay as a number of events"
            )
        self._slices = None if by is None else Slices(by, (each[0].features for each in rows.read(Refusals())))
        slices = self._slices
        self._key: Callable[[Row], str] | None = None if slices is None else lambda row: slices.key(row.features)
        self._total = rows.count()
        self._broken: list[dict[int, str]] = [{} for _ in models]
        first = learning_rules(models[0].stream)
        task = models[0].stream.task
        self.metrics: Callable[[], list[Any]] = lambda: list(
            default_metrics(task) if first.make_metrics is None else first.make_metrics()
        )
        self._begin()

    def _insist_on_alike(self) -> None:
        name, stream = self.models[0]
        for other, theirs in self.models[1:]:
            for what in ("task", "positive", "learn_from"):
                ours, its = getattr(stream, what), getattr(theirs, what)
                if ours != its:
                    raise CannotEvaluate(
                        f"{name} has {what}={ours!r} and {other} {what}={its!r}: only models of the same labels can be "
                        "compared"
                    )

    @property
    def _row(self) -> str:
        """Return what a row's number counts: a reader knows lines, but a row may span several."""
        return "offset" if self.rows.unit == "offset" else "row"

    def _begin(self) -> None:
        """Begin a pass."""
        self.unreadable = Refusals()
        self.blocks: Blocks[list[list[Totals]]] = Blocks(lambda: [trial.totals() for trial in self.trials])
        self.read = self.measured = 0
        self._waiting: deque[_Waiting] = deque()
        self.trials = [
            Trial(
                stream,
                self.metrics,
                asks_first=self.delay is not None,
                unit=self._row,
                broken=self._broken[index],
            )
            for index, (_, stream) in enumerate(self.models)
        ]
        # Without a list for each row, one model is a tenth faster.
        self._alone = self.trials[0] if len(self.trials) == 1 else None
        if self._slices is not None:
            for trial in self.trials:
                trial.slice_by()

    def run(self) -> None:
        """Evaluate.

        Raises
        ------
        CannotEvaluate
            If no row can be measured, or too many rows break a model.
        """
        while True:
            try:
                self._pass()
                break
            except Broken as broken:
                self._leave_out(broken)
                self._begin()
        if self.measured == 0:
            raise CannotEvaluate(f"no row of {self.rows.name} could be measured: {self._why_none()}")
        self.blocks.finish(self.measured)

    def _leave_out(self, broken: Broken) -> None:
        index = self.trials.index(broken.trial)
        self._broken[index][broken.number] = broken.reason
        if len(self._broken[index]) > _MOST_BROKEN:
            number, reason = next(iter(self._broken[index].items()))
            raise CannotEvaluate(
                f"{self.models[index].name}: more than {_MOST_BROKEN} rows of {self.rows.name} break the model; the "
                f"first: {self._row} {number}: {reason}"
            )

    def _why_none(self) -> str:
        reasons = [
            each for refused in (self.unreadable, *(t.refused for t in self.trials)) for each in refused.first.items()
        ]
        if reasons:
            return "{}: {}".format(*reasons[0])
        return "it has no rows" if self.read == 0 else "none has a label"

    def _pass(self) -> None:
        if self._alone is not None and self._alone.learns_labels:
            self._pass_by_stages(self._alone)
        else:
            self._pass_by_rows()
        self._progress(self.read, self.read)

    def _pass_by_stages(self, trial: Trial) -> None:
        delay, at, waiting = self.delay, -1, deque[tuple[int, Event]]()
        stages = Stages(trial, self._key, lambda: self.blocks.room(self.measured), self._count)
        for row, *_ in self.rows.read(self.unreadable):
            ordinal, self.read = self.read, self.read + 1
            if delay is None:
                stages.learn(Event(row, _known_at(row, ordinal)))
            else:
                at = delay.moment(row, ordinal, at)
                while waiting and waiting[0][0] <= at:
                    stages.learn(waiting.popleft()[1])
                due = at + (delay.events or delay.ms)
                event = Event(row, (at, due))
                stages.ask(event)
                waiting.append((due, event))
            if ordinal % _SHOW_EVERY == 0:
                stages.finish()
                self._progress(self.read, self._total)
        for _, event in waiting:
            stages.learn(event)
        stages.finish()

    def _pass_by_rows(self) -> None:
        delay = self.delay
        at = -1
        for rows in self.rows.read(self.unreadable):
            ordinal, self.read = self.read, self.read + 1
            if delay is None:
                self._at_once(rows, ordinal)
            else:
                at = delay.moment(rows[0], ordinal, at)
                while self._waiting and self._waiting[0].due <= at:
                    self._reveal(self._waiting.popleft())
                asked = [trial.ask(row) for trial, row in zip(self.trials, rows, strict=True)]
                self._waiting.append(_Waiting(rows, asked, at, at + (delay.events or delay.ms)))
            if ordinal % _SHOW_EVERY == 0:
                self._settle()
                self._progress(self.read, self._total)
        while self._waiting:
            self._reveal(self._waiting.popleft())
        self._settle()

    def _settle(self) -> None:
        for trial in self.trials:
            trial.settle()

    def _at_once(self, rows: tuple[Row, ...], ordinal: int) -> None:
        times = _known_at(rows[0], ordinal)
        if self._alone is not None:
            row = rows[0]
            asked_one = self._alone.ask(row)
            key = None if self._key is None else self._key(row)
            if not self._alone.skips(asked_one) and self._alone.learn(row, asked_one, times, key):
                self._count()
            return
        fits = [trial.fits(row) for trial, row in zip(self.trials, rows, strict=True)]
        if not all(fits):
            return
        asked = [trial.ask(row) for trial, row in zip(self.trials, rows, strict=True)]
        self._learn(rows, asked, times)

    def _reveal(self, waiting: _Waiting) -> None:
        self._learn(waiting.rows, waiting.asked, (waiting.asked_at, waiting.due))

    def _learn(self, rows: tuple[Row, ...], asked: list[Served | None], times: tuple[int, int] | None) -> None:
        """Have every model learn a row, unless one of them has refused the event: all are measured on the same rows."""
        pairs = list(zip(self.trials, rows, asked, strict=True))
        if any(trial.skips(answer) for trial, _, answer in pairs):
            return
        key = None if self._key is None else self._key(rows[0])
        learned = [trial.learn(row, answer, times, key) for trial, row, answer in pairs]
        if any(learned):
            self._count()

    def _count(self, more: int = 1) -> None:
        self.measured += more
        self.blocks.note(self.measured)
