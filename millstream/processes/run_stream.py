"""Run of all roles of a stream on this machine: check, broker, topics, processes, and the end."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from consumers import roles
from consumers.roles import LEARNER, PREDICTOR, SHADOW
from millstream.config.instance_id import Held, hold, writing
from millstream.config.settings import Settings, interpreter
from millstream.observability import role_log
from millstream.processes.broker_keeper import BrokerKeeper
from millstream.processes.broker_outage import Outage
from millstream.processes.idle_watch import IdleWatch
from millstream.processes.role_failure_alerts import EndingAlerts
from millstream.processes.supervisor import Child, Supervisor
from millstream.reading.decision_history import lost_model
from millstream.status.snapshot import Observer
from millstream.stream.stream import Stream
from millstream.topics import admin
from model_store.value_key import FILE, VARIABLE, make_value_key
from runtime.exits import FAILED, OK
from runtime.kafka_client.cluster import Cluster, NoBroker
from runtime.kafka_client.errors import KafkaError, described
from runtime.stop_signals import stop_on_signals
from schemas.topics import Names

if TYPE_CHECKING:
    from millstream.observability.prometheus.serve_metrics import Address
    from millstream.stream.load import LoadedStream
    from millstream.version_code.choice import Policy

_LOOK_S: Final = 0.1
_BESIDE_NICE: Final = 10  # what serves goes before challengers
_SNAPSHOT_S: Final = 0.5
Say = Callable[[str], None]


class AlreadyRuns(Exception):  # noqa: N818
    """The same stream already runs from the same home; the message names the process."""


class NotDone(Exception):  # noqa: N818
    """The run would never end by itself; the message says why."""


class NotFit(Exception):  # noqa: N818
    """The stream cannot run as it is; the message says what `millstream check` found."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Options of a run. `until_idle` in seconds; `None` runs until told to stop. `new_epoch` is for the learner.

    `metrics` is the address of the first process's metrics; the others use the next ports. `log_format` is for the
    children: their JSON lines are printed unchanged. `code` selects the code that predictors run a version with.
    `left_out` are roles that do not run here. `beside` returns further processes to run, given the stream's names.
    """

    predictors: int = 1
    until_idle: float | None = None
    new_epoch: str | None = None
    metrics: Address | None = None
    log_format: Literal["text", "json"] = "text"
    trace_ratio: float = 0.0
    code: Policy = "version"
    left_out: Collection[str] = ()
    beside: Callable[[Names], Sequence[Child]] = lambda names: ()


def run(given: str, loaded: LoadedStream, settings: Settings, options: RunOptions, say: Say = print) -> int:
    """Run until told to stop, or until all is done; return the exit code.

    Parameters
    ----------
    given
        The stream as the user named it; the children get the same name.

    Raises
    ------
    NotFit
        If `millstream check` finds an error.
    TopicsError
        If the topics do not meet the stream's requirements.
    RoleFailed
        If a role cannot work with its configuration, and has not worked before or the run ends by itself when idle.
    """
    stream = loaded.stream
    names = settings.names(stream)
    with alone(settings.state(names)):
        examine(loaded, given, say)
        cluster = meet(settings, say)
        if (lost := lost_model(cluster, names, loaded.path.name)) is not None:
            raise NotFit(lost)
        prepare(cluster, names, stream, say)
        if stream.contract.private and not os.environ.get(VARIABLE) and make_value_key(settings.keys):
            say(f"created {settings.keys / FILE}, the key of hashes of private values")
        started = children(
            given, names, options.predictors, options.new_epoch, code=options.code, left_out=options.left_out
        )
        started = with_ports([*started, *options.beside(names)], options.metrics)
        outage = Outage(cluster, say)
        relay = role_log.relay if options.log_format == "json" else None
        told = {**environment(settings, options.log_format), "MILLSTREAM_TRACE_RATIO": str(options.trace_ratio)}
        alerts = EndingAlerts(cluster, names, say)
        ends = options.until_idle is not None
        supervisor = Supervisor(started, told, say, outage.lasts, relay, alerts.keeps_ending, needs_all=ends)
        with stopping() as stop, kept(settings, say):
            try:
                supervisor.start()
                _work(supervisor, stop, cluster, names, options.until_idle, outage, say)
            finally:
                say(f"ending: {', '.join(dict.fromkeys(child.role for child in started))}")
                supervisor.stop()
    return FAILED if supervisor.given_up() else OK


@contextmanager
def alone(state: Path, lock: str = "run.lock") -> Iterator[None]:
    """Lock the stream in this home: two runs of it would fence each other without end.

    Raises
    ------
    AlreadyRuns
        If another process has the lock.
    StateUnwritable
        If the state folder cannot be written.
    """
    try:
        with writing(state):
            state.mkdir(parents=True, exist_ok=True)
            held = hold(state / lock)
    except Held as error:
        raise AlreadyRuns(
            f"{state.name} runs already from this MILLSTREAM_HOME, as process {error.process}: "
            "end that one, or work in another home"
        ) from None
    try:
        yield
    finally:
        os.close(held)


def examine(loaded: LoadedStream, given: str, say: Say) -> None:
    """Check the stream and print the warnings. Raises NotFit if there is an error."""
    from millstream.check.check import check

    report = check(loaded)
    for finding in report.warnings:
        say(f"check: warning: {finding.text}")
    if report.errors:
        said = "; ".join(finding.text for finding in report.errors)
        raise NotFit(f"{said} (`millstream check {given}` shows all that was looked at)")
    say(f"check: {loaded.path.name} is fit to run, tried on {report.events} {report.origin}")


def meet(settings: Settings, say: Say) -> Cluster:
    """Return the cluster; start the embedded broker if no other is configured."""
    if settings.bootstrap is None:
        broker = settings.embedded_broker()
        if not broker.status().running:
            status = broker.start(say=say)
            say(f"the embedded broker listens at {status.bootstrap}; `millstream broker stop` ends it")
    cluster = settings.cluster()
    cluster.require(5.0)
    return cluster


def kept(settings: Settings, say: Say) -> AbstractContextManager[object]:
    """Return a context in which the embedded broker is started again when it dies; of another, its operator takes care.

    Parameters
    ----------
    say
        Takes one line. Called from a thread.
    """
    return BrokerKeeper(settings.embedded_broker(), say) if settings.bootstrap is None else nullcontext()


def prepare(cluster: Cluster, names: Names, stream: Stream, say: Say) -> None:
    """Create the missing topics. Raises TopicsError if a topic does not meet the stream's requirements."""
    outcome = admin.create(cluster, names, partitions=stream.partitions, label_wait_ms=stream.labels.wait_ms)
    if outcome.created:
        say(f"created {len(outcome.created)} topics of {names.prefix}{names.stream}")
    for fix, alike in admin.by_fix(each for each in outcome.findings if each.severity == "warning").items():
        say(f"warning: {'; '.join(each.message for each in alike)}; fix: {fix}")
    admin.require(outcome)


def children(
    given: str,
    names: Names,
    predictors: int,
    new_epoch: str | None = None,
    *,
    code: Policy = "version",
    left_out: Collection[str] = (),
) -> list[Child]:
    """Return the processes of a stream, in starting order, without those of the roles that are left out."""
    # A learner that is restarted with the flag finds no further change, and continues.
    epoch = () if new_epoch is None else ("--new-epoch", new_epoch)
    more = {PREDICTOR: ("--code", code), SHADOW: ("--code", code), LEARNER: epoch}
    many = {PREDICTOR: predictors}
    return [
        Child(
            role.name,
            number,
            (*interpreter(), *role.command(given, number), *more.get(roles.kind_of_role(role.name), ())),
            nice=_BESIDE_NICE if role.beside else 0,
        )
        for role in roles.of_stream(names)
        if role.name not in left_out
        for number in map(str, range(many.get(role.name, 1)))
    ]


def with_ports(children: Sequence[Child], first: Address | None) -> list[Child]:
    """Return the processes with consecutive ports, starting at `first`; with port 0, each takes a free one."""
    if first is None:
        return list(children)
    return [
        dataclasses.replace(
            child,
            command=(
                *child.command,
                *("--metrics-host", first.host, "--metrics-port", str(first.port and first.port + number)),
            ),
        )
        for number, child in enumerate(children)
    ]


def environment(settings: Settings, log_format: Literal["text", "json"] = "text") -> dict[str, str]:
    """Return the children's environment: this process's own, with these settings. The supervisor reads their logs."""
    return {**os.environ, **settings.environment(), role_log.VARIABLE: log_format}


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and Ctrl-C set; a second Ctrl-C interrupts."""
    stop = threading.Event()
    with stop_on_signals(stop):
        yield stop


def _work(
    supervisor: Supervisor,
    stop: threading.Event,
    cluster: Cluster,
    names: Names,
    until_idle: float | None,
    outage: Outage,
    say: Say,
) -> None:
    watch = None if until_idle is None else IdleWatch(until_idle)
    observer: Observer | None = None
    due = 0.0
    try:
        while not stop.wait(_LOOK_S):
            supervisor.look()
            if watch is None or time.monotonic() < due:
                continue
            due = time.monotonic() + _SNAPSHOT_S
            try:
                observer = observer or Observer(cluster, names)
                # The state that a role left last time must not count before it works again.
                watch = watch if supervisor.ready() else IdleWatch(watch.span)
                state = watch.note(observer.look(), time.monotonic())
                if state == "paused":
                    raise NotDone(
                        f"learning of {names.stream} is paused and examples wait: "
                        f"`millstream resume {names.stream}` continues"
                    )
                if state == "full":
                    raise NotDone(
                        f"the model of {names.stream} has reached its size limit and examples wait: raise "
                        "Checkpoints(max_bytes=…) in the stream file"
                    )
                if state == "done" and supervisor.ready():
                    say("all is read, learned and checkpointed")
                    return
            except (KafkaError, NoBroker) as error:
                # The roles handle a broker restart; until it is back, the state of the stream is unknown.
                if not outage.lasts():
                    say(f"cannot look at {names.stream} now: {described(error)}")
                _close(observer)
                observer = None
                due = time.monotonic() + 2.0
    finally:
        _close(observer)


def _close(observer: Observer | None) -> None:
    if observer is not None:
        observer.close()
