"""`millstream train`: asks for a training of a batch model, and shows its progress."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, Final

import cyclopts
from cyclopts import Parameter

from millstream.cli.models import Why, checked_model
from millstream.cli.progress import Bar
from millstream.cli.range_options import ALL, Range, say
from millstream.cli.shared_options import HERE, Json, StreamName, UsageError, Where, filling_in, full_names, print_json
from runtime.exits import FAILED, INTERRUPTED, OK

if TYPE_CHECKING:
    from runtime.kafka_client.cluster import Cluster
    from schemas.jobs import Job
    from schemas.topics import Names

_LOOK_S: Final = 0.5
BatchName = Annotated[str, Parameter(name="NAME", help="Name of a batch model of the stream.")]


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(train)


def train(
    stream: StreamName,
    name: BatchName,
    /,
    *,
    range_: Range = ALL,
    why: Why = "",
    wait: Annotated[
        bool, Parameter(negative="", help="Wait until the job has ended; exit code 1 if it was not trained.")
    ] = False,
    where: Where = HERE,
    json: Json = False,
) -> int:
    """Ask for a job that trains a batch model; the trainer that runs takes it. By default on the model's window.

    The range is one of the examples log.

    Example: millstream train my_stream.py gbdt --wait
    """
    from millstream.reading.jobs import whole_job
    from millstream.versions.decisions import who
    from millstream.versions.job_requests import EmptyRange, NoBatchModel, ask

    checked_model(name)
    begin, end = range_.edges()
    settings = where.settings()
    cluster = settings.cluster()
    names = full_names(stream, settings, cluster)
    try:
        with filling_in(stream):
            job = ask(cluster, names, name, by=who(), why=why, begin=begin, end=end)
    except (NoBatchModel, EmptyRange) as error:
        raise UsageError(str(error)) from error
    if not wait:
        if json:
            print_json({"stream": names.stream, "id": job.id, "model": job.model, "state": "asked"})
        else:
            print(f"job {job.id} is asked for; `millstream jobs show {stream} {job.id}` shows how it stands")
        return OK
    try:
        _wait(cluster, names, job)
    except KeyboardInterrupt:
        say(f"the job goes on; `millstream jobs cancel {stream} {job.id}` ends it")
        return INTERRUPTED
    row = whole_job(cluster, names, job.id)
    if json:
        print_json(row)
    else:
        print(ended(row))
    return OK if row["state"] == "done" else FAILED


def _wait(cluster: Cluster, names: Names, job: Job) -> None:
    """Show the progress of a job until it has ended."""
    from millstream.reading.jobs import JobsFollower

    say(f"job {job.id} waits for a trainer")
    begun = 0
    with Bar("steps") as bar, closing(JobsFollower(cluster, names)) as jobs:
        while True:
            for _ in jobs.look():
                pass
            known = jobs.states.get(job.id)  # another writer's open transaction can hide it for a while
            if known is not None and not known.open:
                return
            if known is not None and known.attempts > begun:
                begun = known.attempts
                say(f"attempt {begun} by {known.by}")
            if known is not None and known.step is not None:
                bar.show(known.step.done, known.step.of or None, known.step.text)
            time.sleep(_LOOK_S)


def ended(row: dict[str, Any]) -> str:
    """Return in a sentence how a job has ended."""
    if row["state"] == "done":
        return f"version {row['version']}: {row['reason']}; {row['deployed']}"
    return (
        f"job {row['id']} is {row['state']}: {row['reason']}" if row["reason"] else f"job {row['id']} is {row['state']}"
    )
