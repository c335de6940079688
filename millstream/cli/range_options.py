"""Options that `replay` and `backfill` share: the range of a topic, the rate, and progress messages."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from millstream.cli.shared_options import UsageError
from runtime.exits import INTERRUPTED, OK

if TYPE_CHECKING:
    from millstream.reading.offset_ranges import Edge
    from millstream.replay.rate_limit import RateLimit
    from millstream.replay.replay import Replay, Replayed

_OFFSET = re.compile(r"\d{1,11}")
_OFFSETS = re.compile(r"\d{1,6}:\d{1,15}(,\d{1,6}:\d{1,15})*")


@Parameter(name="*", group="Range")
@dataclass(frozen=True)
class Range:
    """Range of a topic: times as 2026-05-01T12:00, 06:00 (today) or 6h (ago); an offset; or offsets by partition."""

    from_: Annotated[str, Parameter(name="--from")] = ""
    """Begin at 2026-05-01T12:00, 06:00 (today), 6h (ago), an offset, or 0:100,1:90 [default: the beginning]."""

    to: str = ""
    """End before this time or offset [default: the current end]."""

    def edges(self) -> tuple[Edge, Edge]:
        """Return its begin and end. Raises UsageError if one is neither a time nor an offset."""
        return _edge("--from", self.from_), _edge("--to", self.to)


@Parameter(name="*", group="Rate")
@dataclass(frozen=True)
class Manner:
    """Rate of a replay, and whether to repeat a finished one."""

    speed: str = "max"
    """1x is as fast as the records came, 10x ten times as fast; `--rate` limits it further."""

    rate: str | None = None
    """Limit: 500 (records per second), 2MB (bytes per second) or unlimited [default: 2000 and 4MB]."""

    again: Annotated[bool, Parameter(negative="")] = False
    """Repeat a range that is finished."""

    def pace(self) -> RateLimit:
        """Return the rate limit. Raises UsageError if an option is invalid."""
        from millstream.replay.rate_limit import InvalidPace, parse

        try:
            return parse(self.speed, self.rate)
        except InvalidPace as error:
            raise UsageError(str(error)) from error


ALL, AT_ONCE = Range(), Manner()


def say(line: str) -> None:
    """Print a message for people to standard error, apart from the output for programs."""
    print(line, file=sys.stderr, flush=True)


def announce(work: Replay, pace: RateLimit) -> None:
    """Print what the replay will do, and its shortest duration."""
    say(f"{work.job.topic} into {work.job.into}: up to {work.left:,} records" + before(work.before))
    if work.before and not work.left:
        say("this range was already replayed completely: --again writes it again")
    elif pace.rate and work.left:
        say(f"at most {pace.rate:,.0f} a second, so up to {_spoken(pace.seconds(work.left))}; --rate changes that")


def finish(done: Replayed) -> int:
    """Return the exit code of a replay that was stopped or is complete."""
    if done.interrupted:
        say("stopped before the end; the same command continues from there")
    return INTERRUPTED if done.interrupted else OK


def before(count: int) -> str:
    """Return a note on the number of records that earlier runs have written."""
    return f"; {count:,} were written before" if count else ""


def left(seconds: float) -> str:
    """Return the remaining time for a progress bar."""
    return f"about {_spoken(seconds)} left" if seconds else ""


def topic_name(given: str) -> str:
    """Return the name. Raises UsageError if it is not valid for a topic."""
    from schemas.sources.source import TOPIC

    if not TOPIC.fullmatch(given) or given in (".", ".."):
        raise UsageError(f"{given[:300]!r} is not a valid topic name: 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'")
    return given


def _spoken(seconds: float) -> str:
    from schemas.duration_text import spoken

    return spoken(max(1.0, seconds) * 1000)


def _edge(option: str, text: str) -> Edge:
    from millstream.reading.offset_ranges import Edge
    from millstream.reading.timestamps import InvalidMoment, moment

    text = text.strip()
    if not text:
        return Edge()
    if _OFFSET.fullmatch(text):
        return Edge(text, offset=int(text))
    if _OFFSETS.fullmatch(text):
        pairs: Any = (each.split(":") for each in text.split(","))
        return Edge(text, by_partition={int(number): int(offset) for number, offset in pairs})
    try:
        return Edge(text, time_ms=moment(text))
    except InvalidMoment as error:
        raise UsageError(f"{option}: {error}; or an offset, or 0:100,1:90 by partition") from error
