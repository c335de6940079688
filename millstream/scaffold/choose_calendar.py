"""Choice of a `Calendar` for the stream file that `init` writes: tried on sample rows like a model.

The features are the hour, the weekday or the month as points on a circle, because a linear model cannot use 23 and 0 as
neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from millstream.scaffold.choose_model import Lines, Lost, Tried, examples, ratio, short, try_model
from producers.infer import Inferred
from schemas.calendar import CalendarFeatures
from schemas.target import Task

_ZONE: Final = "UTC"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS: Final = -62_135_596_800_000  # of the year 1, before which there are no dates
_LAST_MS: Final = 253_402_300_800_000  # the year 10000
_HELPS: Final = 0.97  # of the error without it; a smaller difference may be chance
# Fewer different ones are no course of a day, of a week or of a year.
_LEAST_HOURS: Final = 6
_LEAST_DAYS: Final = 10
_LEAST_MONTHS: Final = 12
_WORDS: Final = {"hour": "the hour", "weekday": "the weekday", "month": "the month"}


class Proposed(NamedTuple):
    """A calendar that was tried.

    Attributes
    ----------
    parts
        Without ``_sin`` and ``_cos``.
    tried, without
        The model with the calendar's features, and the same without them.
    """

    column: str
    parts: tuple[str, ...]
    tried: Tried
    without: Tried

    @property
    def helps(self) -> bool:
        """Return whether the model is better with it, and better than the baseline."""
        return not self.tried.loses and ratio(self.tried) < _HELPS * ratio(self.without)

    @property
    def text(self) -> str:
        """Return what was found, as a sentence."""
        named = f"{' and '.join(_WORDS[part] for part in self.parts)} of {self.column!r}"
        if self.helps:
            return f"the calendar: with {named} in {_ZONE}: {self._errors}; --no-calendar leaves it out"
        return f"no calendar: nothing is gained by {named}: {self._errors}"

    @property
    def _errors(self) -> str:
        return f"{self.tried.metric} {short(self.tried.error)} with the calendar, {short(self.without.error)} without"

    def lines(self) -> Iterator[str]:
        """Yield the lines of the stream file."""
        yield "    # Features from the event's time, as points on a circle; tz= is their time zone."
        yield f"    # {self._errors[0].upper()}{self._errors[1:]}."
        names = ", ".join(f'"{name}"' for name in names_of(self.parts))
        yield f'    calendar=Calendar({names}, tz="{_ZONE}"),'


def names_of(parts: Sequence[str]) -> tuple[str, ...]:
    """Return the calendar's features for these parts."""
    return tuple(f"{part}_{wave}" for part in parts for wave in ("sin", "cos"))


def propose(
    inferred: Inferred | None, task: Task, chosen: Tried | Lost | list[str], lines: Lines, names: Mapping[str, object]
) -> Proposed | None:
    """Try the chosen model with a calendar; return `None` if there is no time column, or nothing to try.

    Parameters
    ----------
    lines
        Returns the lines of a model that has numbers among its features and ends with the given learner.
    names
        The file's own names that the lines refer to.
    """
    if inferred is None or inferred.time is None or isinstance(chosen, list):
        return None
    parts = _parts(inferred.example_times)
    taken = {column.name for column in inferred.columns}
    if not parts or taken.intersection(names_of(parts)):
        return None
    without = chosen.best if isinstance(chosen, Lost) else chosen
    calendar = CalendarFeatures(parts=names_of(parts), tz=_ZONE, prefix="")
    rows = list(examples(inferred, task, calendar))
    tried = try_model(task, without.learner, lines(without.learner), names, rows)
    return Proposed(inferred.time, parts, tried, without)


def _parts(times: Sequence[int]) -> tuple[str, ...]:
    """Return the parts of the date and time that vary enough in these times (ms since 1970)."""
    dates = [_EPOCH + timedelta(milliseconds=each) for each in times if _FIRST_MS <= each < _LAST_MS]
    seen = {
        "hour": (len({each.hour for each in dates}), _LEAST_HOURS),
        "weekday": (len({each.date() for each in dates}), _LEAST_DAYS),
        "month": (len({(each.year, each.month) for each in dates}), _LEAST_MONTHS),
    }
    return tuple(part for part, (count, least) in seen.items() if count >= least)
