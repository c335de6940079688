"""`millstream replay`: copies a range of a topic to another topic."""

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
        str, Parameter(name="TOPIC", help="Topic of the stream (features, labels, ...) or full name of any topic.")
    ],
    /,
    *,
    into: Annotated[
        str, Parameter(help="Full name of the target topic; created with unlimited retention if it is missing.")
    ],
    into_bootstrap: Annotated[str | None, Parameter(help="host:port of another Kafka with the target topic.")] = None,
    span: Range = ALL,
    manner: Manner = AT_ONCE,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Copy a range of a topic to another topic, with keys, values, headers, times, and the order of each partition.

    After an interruption, the same command continues without a repeat or a gap. If the topics have different numbers
    of partitions, records are partitioned by their keys.

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
        raise UsageError(f"--into {into}: it is an external topic that {names.stream} reads; choose another one")
    job = plan(cluster, source, begin, end, ReplayTarget(target, into))
    with Replay(job, names, again=manner.again) as work:
        announce(work, pace)
        if job.stamps:
            say(f"{into} sets its own time on records (LogAppendTime): the original times are not kept")
        with Bar("records") as bar:
            done = work.run(pace, lambda at, total, seconds: bar.show(at, total, left(seconds)))
    if json:
        print_json({"topic": source, "into": into, **dataclasses.asdict(done)})
    else:
        print(f"{done.written:,} records written into {into} in {done.seconds:.1f} s" + before(done.before))
    return finish(done)
