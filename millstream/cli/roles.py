"""`millstream predictor`, `intake`, `joiner` and `learner`: one role, one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import cyclopts
from cyclopts import Parameter

from millstream.cli.monitoring import UNWATCHED, Monitoring
from millstream.cli.shared_options import HERE, CodePolicy, StreamName, UsageError, Where

if TYPE_CHECKING:
    from consumers.loop.instrumentation import Meter
    from millstream.config.settings import Settings
    from millstream.stream.load import LoadedStream

Instance = Annotated[
    str | None, Parameter(help="This process's name [default: the hostname's -NUMBER, else one kept in the home].")
]
FromHere = Annotated[
    Literal["fresh"] | None,
    Parameter(help="Where a topic it reads was cut short or made again: go on at what the topics hold now."),
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
    new_epoch: FromHere = None,
    code: CodePolicy = "own",
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Answer feature events with predictions until told to end. Any number may run.

    Example: millstream predictor phishing --instance 0
    """

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: Meter) -> int:
        from millstream.processes.roles import run_predictor

        return run_predictor(loaded, settings, name, new_epoch is not None, meter=meter, code=code)

    return _run("predictor", stream, instance, where, monitoring, work)


def intake(
    stream: StreamName,
    /,
    *,
    instance: Instance = None,
    new_epoch: FromHere = None,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Put labels of other topics (labels= in the stream file) on the stream's own until told to end.

    Any number may run.

    Example: millstream intake my_stream.py
    """

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: Meter) -> int:
        from millstream.processes.roles import run_intake

        return run_intake(loaded, settings, name, new_epoch is not None, meter=meter)

    return _run("intake", stream, instance, where, monitoring, work)


def joiner(
    stream: StreamName,
    /,
    *,
    instance: Instance = None,
    new_epoch: FromHere = None,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Join predictions with their labels into the examples log until told to end.

    Example: millstream joiner phishing
    """

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: Meter) -> int:
        from millstream.processes.roles import run_joiner

        return run_joiner(loaded, settings, name, new_epoch is not None, meter=meter)

    return _run("joiner", stream, instance, where, monitoring, work)


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
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Learn the examples log and write versions until told to end.

    Example: millstream learner phishing
    """

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: Meter) -> int:
        from millstream.processes.roles import run_learner

        return run_learner(loaded, settings, name, new_epoch, meter=meter)

    return _run("learner", stream, instance, where, monitoring, work)


def _run(
    role: str,
    stream: str,
    instance: str | None,
    where: Where,
    monitoring: Monitoring,
    work: Callable[[LoadedStream, Settings, str, Meter], int],
) -> int:
    from consumers.loop.instrumentation import Meters
    from millstream.config.instance_id import InvalidInstance, claim
    from millstream.observability import role_log
    from millstream.observability.log_events import LogMeter
    from millstream.observability.prometheus.serve_metrics import Scraped, measured
    from millstream.observability.tracing.enable import traced
    from millstream.processes.supervisor import die_with_parent
    from millstream.stream.load import load_stream
    from runtime.kafka_client.errors import KafkaError, described

    die_with_parent()
    role_log.begin(monitoring.log_format, role=role)
    address, ratio = monitoring.address(), monitoring.ratio()
    settings = where.settings()
    loaded = load_stream(stream)
    names = settings.names(loaded.stream)
    state = settings.state(names)
    try:
        with claim(role, instance, state) as claimed:
            name = claimed.instance
            role_log.about(instance=name, stream=f"{names.prefix}{names.stream}")
            role_log.say(f"{role} {name} of {names.stream} starts", event="started", pid=os.getpid())
            told = LogMeter(names, role_log.say)
            scraped = Scraped(names, role, name, state)
            with traced(ratio, scraped, role_log.say) as traces:
                code = measured(
                    address,
                    scraped,
                    lambda meter: work(loaded, settings, name, Meters(told, traces, meter)),
                    role_log.say,
                )
            role_log.ended(role, code)
            return code
    except InvalidInstance as error:
        raise UsageError(str(error)) from error
    except KafkaError as error:
        # What Kafka answers today it may not answer in a second: whoever runs the role decides how often.
        role_log.fail(f"{role}: Kafka: {described(error)}", event="failed")
        role_log.ended(role, _AGAIN)
        return _AGAIN
