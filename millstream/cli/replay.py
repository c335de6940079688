"""`millstream replay`: a range of a topic written again into another one."""

from __future__ import annotations

import dataclasses
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter

from millstream.cli.common import HERE, Json, StreamName, UsageError, Where, has_topics, names_of, print_json
from millstream.cli.progress import Bar

if TYPE_CHECKING:
    from millstream.pace import Pace
    from millstream.spans import Edge

_OFFSET = re.compile(r"\d{1,11}")
_OFFSETS = re.compile(r"\d{1,6}:\d{1,15}(,\d{1,6}:\d{1,15})*")
_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(replay)


@Parameter(name="*", group="What of it")
@dataclass(frozen=True)
class Range:
    """Times as 2026-05-01T12:00, 06:00 (today) or 6h (ago); an offset; or offsets by partition, 0:100,1:90."""

    from_: Annotated[str, Parameter(name="--from")] = ""
    """2026-05-01T12:00, 06:00 (today), 6h (ago), an offset, or 0:100,1:90 by partition [default: the beginning]."""

    to: str = ""
    """Up to there; it is not in the range [default: the end as it is now]."""


@Parameter(name="*", group="How fast")
@dataclass(frozen=True)
class Manner:
    """How fast, and whether again."""

    speed: str = "max"
    """1x is as fast as the records came, 10x ten times that."""

    rate: str | None = None
    """At most 500 (records a second), 2MB (bytes a second) or unlimited [default: 2000 and 4MB, which is gentle]."""

    again: Annotated[bool, Parameter(negative="")] = False
    """Although it was done before."""

    def pace(self) -> Pace:
        """Return what is asked for. UsageError where it cannot be."""
        from millstream.pace import InvalidPace, parse

        try:
            return parse(self.speed, self.rate)
        except InvalidPace as error:
            raise UsageError(str(error)) from error


_ALL, _AT_ONCE = Range(), Manner()


def replay(
    stream: StreamName,
    topic: Annotated[
        str, Parameter(name="TOPIC", help="A topic of the stream (features, labels, ...) or any topic's full name.")
    ],
    /,
    *,
    into: Annotated[
        str, Parameter(help="The full name of the topic to write to; made, to be kept for ever, where it is not there.")
    ],
    into_bootstrap: Annotated[str | None, Parameter(help="host:port of another Kafka to write to.")] = None,
    span: Range = _ALL,
    manner: Manner = _AT_ONCE,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Write a range of a topic again into another one: keys, values, headers, times, and each partition's order.

    The same command goes on where it was ended, however it was, without a repeat or a hole. Where the topics have
    unequal numbers of partitions, records go by their keys.

    Example: millstream replay fraud features --from 6h --into fraud-again.features --speed 10x
    """
    from millstream.replay import Replay
    from millstream.replay_plan import Target, plan
    from schemas.topics import KINDS

    pace, begin, end = manner.pace(), _edge("--from", span.from_), _edge("--to", span.to)
    for given in (topic, into):
        if not _TOPIC.fullmatch(given) or given in (".", ".."):
            raise UsageError(f"{given[:300]!r} is no name of a topic: 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'")
    settings = where.settings()
    cluster = settings.cluster()
    names = names_of(stream, settings, has_topics(cluster))
    target = cluster if into_bootstrap is None else dataclasses.replace(cluster, bootstrap=into_bootstrap)
    source = names.topic(topic) if topic in KINDS else topic
    job = plan(cluster, source, begin, end, Target(target, into))
    with Replay(job, names, again=manner.again) as work:
        _say(f"{source} into {into}: up to {work.left:,} records" + _before(work.before))
        if work.before and not work.left:
            _say("this range was replayed already, whole: --again writes it once more")
        if work.left and pace.rate:
            _say(f"at most {pace.rate:,.0f} a second, {_span(pace.seconds(work.left))}: --rate says otherwise")
        if job.stamps:
            _say(f"{into} puts its own time on records (LogAppendTime): theirs are not kept")
        with Bar("records") as bar:
            done = work.run(pace, lambda at, total, left: bar.show(at, total, _left(left)))
    if json:
        print_json({"topic": source, "into": into, **dataclasses.asdict(done)})
    else:
        print(f"{done.written:,} records written into {into} in {done.seconds:.1f} s" + _before(done.before))
    if done.interrupted:
        _say("ended before the end; the same command goes on from there")
    return 130 if done.interrupted else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _before(count: int) -> str:
    return f"; {count:,} were written before" if count else ""


def _left(seconds: float) -> str:
    from millstream.duration import spoken

    return f"about {spoken(seconds * 1000)} left" if seconds else ""


def _span(seconds: float) -> str:
    from millstream.duration import spoken

    return f"up to {spoken(max(1.0, seconds) * 1000)}"


def _edge(option: str, text: str) -> Edge:
    from millstream.moment import InvalidMoment, moment
    from millstream.spans import Edge

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
