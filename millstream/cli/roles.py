"""`millstream predictor`, `joiner`, `learner` and the other roles of Kafka: one role, one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import cyclopts
from cyclopts import Parameter

from consumers.roles import (
    INTAKE,
    JOINER,
    JUDGE,
    LEARNER,
    MONITOR,
    NOTIFIER,
    PREDICTOR,
    REFEREE,
    SHADOW,
    TRAINER,
    named,
)
from millstream.cli.models import checked_model
from millstream.cli.monitoring import UNWATCHED, Monitoring
from millstream.cli.shared_options import HERE, CodePolicy, StreamFileName, UsageError, Where, load_file
from runtime.exits import TRY_AGAIN
from schemas.model_names import MAIN

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.observability.instrumentation import RoleInstrumentation
    from millstream.stream.load import LoadedStream
    from millstream.version_code.choice import Policy

Instance = Annotated[
    str | None, Parameter(help="Name of this process [default: the hostname's -NUMBER, else one kept in the home].")
]
FromHere = Annotated[
    Literal["fresh"] | None,
    Parameter(help="Continue with the current content of the topics, after one was truncated or recreated."),
]


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    for command in (predictor, intake, joiner, learner, shadow, judge, referee, trainer, monitor, notifier):
        parent.command(command)


class Run(Protocol):
    """Runs a role until told to stop, and returns the exit code; `new_epoch` as in `FromHere`."""

    def __call__(
        self, loaded: LoadedStream, settings: Settings, instance: str, new_epoch: bool, *, meter: RoleInstrumentation
    ) -> int:
        """Run it."""


class RunWithCode(Protocol):
    """Runs a role that loads versions; `code` selects the code that they run with."""

    def __call__(
        self,
        loaded: LoadedStream,
        settings: Settings,
        instance: str,
        new_epoch: bool,
        *,
        meter: RoleInstrumentation,
        code: Policy,
    ) -> int:
        """Run it."""


def _command(role: str) -> Callable[[Callable[[], Run]], Callable[..., int]]:
    """Return a decorator that makes a role's command, with this help, of a function that imports what runs the role."""

    def made(wiring: Callable[[], Run]) -> Callable[..., int]:
        def command(
            stream: StreamFileName,
            /,
            *,
            instance: Instance = None,
            new_epoch: FromHere = None,
            where: Where = HERE,
            monitoring: Monitoring = UNWATCHED,
        ) -> int:
            def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
                return wiring()(loaded, settings, name, new_epoch is not None, meter=meter)

            return run_role(role, stream, instance, where, monitoring, work)

        return _named_like(wiring, command)

    return made


def _command_with_code(role: str) -> Callable[[Callable[[], RunWithCode]], Callable[..., int]]:
    """Return the same decorator for a role that loads versions."""

    def made(wiring: Callable[[], RunWithCode]) -> Callable[..., int]:
        def command(
            stream: StreamFileName,
            /,
            *,
            instance: Instance = None,
            new_epoch: FromHere = None,
            code: CodePolicy = "own",
            where: Where = HERE,
            monitoring: Monitoring = UNWATCHED,
        ) -> int:
            def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
                return wiring()(loaded, settings, name, new_epoch is not None, meter=meter, code=code)

            return run_role(role, stream, instance, where, monitoring, work)

        return _named_like(wiring, command)

    return made


def _named_like(wiring: Callable[..., object], command: Callable[..., int]) -> Callable[..., int]:
    # Not functools.wraps, by which the command would take the other function's parameters.
    command.__name__, command.__doc__ = wiring.__name__, wiring.__doc__
    return command


@_command_with_code(PREDICTOR)
def predictor() -> RunWithCode:
    """Answer feature events with predictions, until stopped. Any number may run.

    Example: millstream predictor phishing --instance 0
    """
    from millstream.processes.roles import run_predictor

    return run_predictor


@_command(INTAKE)
def intake() -> Run:
    """Copy labels of external topics (`Labels(sources=...)`) to the stream's labels topic, until stopped.

    Any number may run.

    Example: millstream intake my_stream.py
    """
    from millstream.processes.roles import run_intake

    return run_intake


@_command(JOINER)
def joiner() -> Run:
    """Join predictions with their labels and write examples to the log, until stopped.

    Example: millstream joiner phishing
    """
    from millstream.processes.roles import run_joiner

    return run_joiner


def learner(
    stream: StreamFileName,
    /,
    *,
    instance: Instance = None,
    new_epoch: Annotated[
        Literal["fresh", "replay", "keep"] | None,
        Parameter(
            help="Begin a new epoch after a change of model, contract or log: fresh (a new model learns from here on), "
            "replay (a new model learns the whole log), keep (the old model continues)."
        ),
    ] = None,
    model: Annotated[str, Parameter(help="Name of the model among the stream's `models`.")] = MAIN,
    where: Where = HERE,
    monitoring: Monitoring = UNWATCHED,
) -> int:
    """Learn the examples log and write versions, until stopped. Each of the stream's models has its own learner.

    Example: millstream learner phishing
    """
    wanted = "" if checked_model(model) == MAIN else model

    def work(loaded: LoadedStream, settings: Settings, name: str, meter: RoleInstrumentation) -> int:
        from millstream.processes.roles import run_learner

        return run_learner(loaded.of_model(wanted), settings, name, new_epoch, meter=meter)

    return run_role(named(LEARNER).of_model(wanted).name, stream, instance, where, monitoring, work)


@_command_with_code(SHADOW)
def shadow() -> RunWithCode:
    """Ask the models that do not serve what they would have answered, until stopped. Any number may run.

    Example: millstream shadow my_stream.py
    """
    from millstream.processes.compared_roles import run_shadow

    return run_shadow


@_command(JUDGE)
def judge() -> Run:
    """Join shadow answers with their labels and write comparisons of the models, until stopped.

    Example: millstream judge my_stream.py
    """
    from millstream.processes.compared_roles import run_judge

    return run_judge


@_command(REFEREE)
def referee() -> Run:
    """Decide by the stream's rule (`promote=Promote(...)`) which model serves, until stopped.

    Example: millstream referee my_stream.py
    """
    from millstream.processes.referee_role import run_referee

    return run_referee


@_command(TRAINER)
def trainer() -> Run:
    """Train the stream's batch models (`batch={...}`) as jobs ask for it, until stopped. With two, one works.

    Example: millstream trainer my_stream.py
    """
    from millstream.processes.trainer_role import run_trainer

    return run_trainer


@_command(MONITOR)
def monitor() -> Run:
    """Watch the stream: its features, answers and labels against what is usual, until stopped.

    A new monitor begins with the past that its reference needs. With two, one judges what both have seen.

    Example: millstream monitor my_stream.py
    """
    from millstream.monitoring.monitor_role import run_monitor

    return run_monitor


@_command(NOTIFIER)
def notifier() -> Run:
    """Deliver alerts to the stream's targets (`notify=[Webhook(...)]`), until stopped.

    Example: millstream notifier my_stream.py
    """
    from millstream.processes.notifier_role import run_notifier

    return run_notifier


def run_role(
    role: str,
    stream: str,
    instance: str | None,
    where: Where,
    monitoring: Monitoring,
    work: Callable[[LoadedStream, Settings, str, RoleInstrumentation], int],
) -> int:
    """Claim the instance, run `work` with log, metrics and traces, and return the exit code."""
    from millstream.config.instance_id import InvalidInstance, claim
    from millstream.observability import role_log
    from millstream.observability.instrumentation import FanOut
    from millstream.observability.log_events import LogMeter
    from millstream.observability.prometheus.serve_metrics import Scraped, measured
    from millstream.observability.tracing.enable import traced
    from millstream.processes import role_events
    from millstream.processes.supervisor import die_with_parent
    from runtime.kafka_client.cluster import NoBroker
    from runtime.kafka_client.errors import KafkaError, described
    from runtime.kafka_client.library_names import version_of

    die_with_parent()
    role_events.begin()
    role_log.begin(monitoring.log_format, role=role)
    address, ratio = monitoring.address(), monitoring.ratio()
    settings = where.settings()
    loaded = load_file(stream, role)
    names = settings.names(loaded.stream)
    state = settings.state(names)
    try:
        with claim(role, instance, state) as claimed:
            name = claimed.instance
            role_log.about(instance=name, stream=f"{names.prefix}{names.stream}")
            version = version_of(settings.client)
            role_log.say(
                f"{role} {name} of {names.stream} starts, with the Kafka client {settings.client} {version}",
                event="started",
                pid=os.getpid(),
                client=settings.client,
                client_version=version,
            )
            told = LogMeter(names, role_log.say)
            scraped = Scraped(names, role, name, state, settings.client)
            with traced(ratio, scraped, role_log.say) as traces:
                code = measured(
                    address,
                    scraped,
                    lambda meter: work(loaded, settings, name, FanOut(told, traces, meter)),
                    role_log.say,
                )
            role_log.ended(role, code)
            return code
    except InvalidInstance as error:
        raise UsageError(str(error)) from error
    except NoBroker as error:
        if not error.passing:
            raise
        return _to_start_again(role, str(error))
    except KafkaError as error:
        return _to_start_again(role, f"Kafka: {described(error)}")


def _to_start_again(role: str, why: str) -> int:
    """Report that a later attempt may get another answer of Kafka; whoever starts the role decides how often to try."""
    from millstream.observability import role_log
    from millstream.processes import role_events

    role_events.failed(role, why)
    role_log.ended(role, TRY_AGAIN)
    return TRY_AGAIN
