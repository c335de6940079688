"""`millstream predictor`, `intake`, `joiner` and `learner`: one role, one process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from millstream.cli.common import HERE, StreamName, UsageError, Where

if TYPE_CHECKING:
    from millstream.load import LoadedStream
    from millstream.settings import Settings

Instance = Annotated[
    str | None, Parameter(help="This process's name [default: the hostname's -NUMBER, else one kept in the home].")
]
_AGAIN = 75


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(predictor)
    parent.command(intake)
    parent.command(joiner)
    parent.command(learner)


def predictor(
    stream: StreamName,
    /,
    *,
    instance: Instance = None,
    new_epoch: Annotated[
        Literal["fresh"] | None,
        Parameter(help="Where the features topic was cut short or made again: go on at what it holds now."),
    ] = None,
    where: Where = HERE,
) -> int:
    """Answer feature events with predictions until told to end. Any number may run.

    Example: millstream predictor phishing --instance 0
    """

    def work(loaded: LoadedStream, settings: Settings, name: str) -> int:
        from millstream.roles import run_predictor

        return run_predictor(loaded, settings, name, new_epoch is not None)

    return _run("predictor", stream, instance, where, work)


def intake(
    stream: StreamName,
    /,
    *,
    instance: Instance = None,
    new_epoch: Annotated[
        Literal["fresh"] | None,
        Parameter(help="Where a topic was cut short or made again: go on at what the topics hold now."),
    ] = None,
    where: Where = HERE,
) -> int:
    """Put labels of other topics (labels= in the stream file) on the stream's own until told to end.

    Any number may run.

    Example: millstream intake my_stream.py
    """

    def work(loaded: LoadedStream, settings: Settings, name: str) -> int:
        from millstream.roles import run_intake

        return run_intake(loaded, settings, name, new_epoch is not None)

    return _run("intake", stream, instance, where, work)


def joiner(
    stream: StreamName,
    /,
    *,
    instance: Instance = None,
    new_epoch: Annotated[
        Literal["fresh"] | None,
        Parameter(help="Where a topic was cut short or made again: go on at what the topics hold now."),
    ] = None,
    where: Where = HERE,
) -> int:
    """Join predictions with their labels into the examples log until told to end.

    Example: millstream joiner phishing
    """

    def work(loaded: LoadedStream, settings: Settings, name: str) -> int:
        from millstream.roles import run_joiner

        return run_joiner(loaded, settings, name, new_epoch is not None)

    return _run("joiner", stream, instance, where, work)


def learner(
    stream: StreamName,
    /,
    *,
    instance: Instance = None,
    new_epoch: Annotated[
        Literal["fresh", "replay", "keep"] | None,
        Parameter(
            help="Where the model, contract or log has changed: fresh (a new model from here on), replay (a new "
            "model learns the whole log), keep (the old model's state goes on)."
        ),
    ] = None,
    where: Where = HERE,
) -> int:
    """Learn the examples log and write versions until told to end.

    Example: millstream learner phishing
    """

    def work(loaded: LoadedStream, settings: Settings, name: str) -> int:
        from millstream.roles import run_learner

        return run_learner(loaded, settings, name, new_epoch)

    return _run("learner", stream, instance, where, work)


def _run(
    role: str,
    stream: str,
    instance: str | None,
    where: Where,
    work: Callable[[LoadedStream, Settings, str], int],
) -> int:
    from kafka.errors import KafkaError

    from millstream.instance import InvalidInstance, claim
    from millstream.load import load_stream
    from millstream.supervisor import die_with_parent

    die_with_parent()
    settings = where.settings()
    loaded = load_stream(stream)
    state = settings.state(settings.names(loaded.stream))
    try:
        with claim(role, instance, state) as claimed:
            return work(loaded, settings, claimed.instance)
    except InvalidInstance as error:
        raise UsageError(str(error)) from error
    except KafkaError as error:
        # What Kafka answers today it may not answer in a second: whoever runs the role decides how often.
        print(f"{role}: Kafka: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return _AGAIN
