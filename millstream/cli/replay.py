"""`millstream replay`: a range of a topic written again into another one."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from millstream.cli.progress import Bar
from millstream.cli.range_options import ALL, AT_ONCE, Manner, Range, announce, before, finish, left, say, topic_name
from millstream.cli.shared_options import HERE, Json, StreamName, UsageError, Where, full_names, print_json


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(replay)


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
    span: Range = ALL,
    manner: Manner = AT_ONCE,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Write a range of a topic again into another one: keys, values, headers, times, and each partition's order.

    The same command goes on where it was ended, however it was, without a repeat or a hole. Where the topics have
    unequal numbers of partitions, records go by their keys.

    Example: millstream replay fraud features --from 6h --into fraud-again.features --speed 10x
    """
    from millstream.replay.plan import ReplayTarget, plan
    from millstream.replay.replay import Replay
    from schemas.topics import ANSWERS, KINDS

    pace, (begin, end) = manner.pace(), span.edges()
    topic_name(topic), topic_name(into)
    settings = where.settings()
    cluster = settings.cluster()
    names = full_names(stream, settings, cluster)
    target = cluster if into_bootstrap is None else dataclasses.replace(cluster, bootstrap=into_bootstrap)
    source = names.topic(topic) if topic in (*KINDS, ANSWERS) else topic
    if into in (*names.elsewhere.values(), *names.labels_from) and into_bootstrap is None:
        raise UsageError(f"--into {into}: {names.stream} reads it, and it is somebody else's to write")
    job = plan(cluster, source, begin, end, ReplayTarget(target, into))
    with Replay(job, names, again=manner.again) as work:
        announce(work, pace)
        if job.stamps:
            say(f"{into} puts its own time on records (LogAppendTime): theirs are not kept")
        with Bar("records") as bar:
            done = work.run(pace, lambda at, total, seconds: bar.show(at, total, left(seconds)))
    if json:
        print_json({"topic": source, "into": into, **dataclasses.asdict(done)})
    else:
        print(f"{done.written:,} records written into {into} in {done.seconds:.1f} s" + before(done.before))
    return finish(done)
