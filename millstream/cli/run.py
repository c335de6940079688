"""`millstream demo` and `run`: all roles on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter

from consumers import roles
from millstream.cli.http import NO_HTTP, HttpBeside
from millstream.cli.monitoring import UNWATCHED_RUN, MonitoringOfRun
from millstream.cli.shared_options import (
    HERE_WITH_BROKER,
    CodePolicy,
    Json,
    StreamFileName,
    UsageError,
    WhereWithBroker,
    load_file,
    print_json,
)


def register(parent: cyclopts.App) -> None:
    """Add these commands."""
    parent.command(demo)
    parent.command(run)


def demo(
    stream: Annotated[
        str | None,
        Parameter(
            name="STREAM",
            help="Name of a ready-made stream, such as phishing, bananas or elec2 [default: phishing].",
        ),
    ] = None,
    /,
    *,
    challenger: Annotated[
        bool,
        Parameter(
            negative="",
            help="Show two models on one stream (bananas-models): one is promoted by a rule; takes about a minute.",
        ),
    ] = False,
    drift: Annotated[
        bool,
        Parameter(
            negative="",
            help="Show a stream whose inputs change halfway (bananas-drift): an alarm pauses learning; takes about a "
            "minute.",
        ),
    ] = False,
    file: Annotated[
        str | None, Parameter(help="Data file, if River does not include the data (elec2: elec.csv).")
    ] = None,
    rate: Annotated[
        float | None,
        Parameter(help="Events per second [default: such that it takes about 20 s; 60 s with --challenger, --drift]."),
    ] = None,
    http: HttpBeside = NO_HTTP,
    where: WhereWithBroker = HERE_WITH_BROKER,
    json: Json = False,
) -> int:
    """Show a model learning from a data stream on a real Kafka, in under a minute.

    The topics and versions stay, so that you can use the other commands on them. A second demo starts from scratch.
    With --serve it also answers over HTTP, prints three curl commands to try, and goes on until Ctrl-C.

    Example: millstream demo bananas
    """
    stream = _shown(stream, challenger, drift)
    _check_demo(rate, serves=http.serve, prints_json=json)
    server, console = http.options("version"), http.console("version")  # checked also without --serve
    from millstream.demo.demo import DemoOptions
    from millstream.demo.demo import run as show

    settings = where.settings()
    options = DemoOptions(file=file, rate=rate, print_json=print_json if json else None)
    if http.serve:
        from millstream.demo.serving import Served

        server.require(settings)
        http.require_console_free()
        options = replace(options, served=Served(server, http.beside(stream, "version", console=console)))
    return show(stream, settings, options)


def _shown(stream: str | None, challenger: bool, drift: bool) -> str:
    """Return the name of the stream that a demo shows. Raises UsageError."""
    chosen = {"--challenger": (challenger, "bananas-models"), "--drift": (drift, "bananas-drift")}
    asked = [(option, name) for option, (given, name) in chosen.items() if given]
    if len(asked) > 1:
        raise UsageError("--challenger and --drift show different streams: use one of them")
    if asked and stream is not None:
        raise UsageError(f"{asked[0][0]} shows the stream {asked[0][1]}: leave the name out")
    return asked[0][1] if asked else stream or "phishing"


def _check_demo(rate: float | None, *, serves: bool, prints_json: bool) -> None:
    """Raise UsageError for options of a demo that mean nothing, or nothing together."""
    if rate is not None and not rate > 0:
        raise UsageError(f"--rate {rate:g} must be more than 0 events a second")
    if serves and prints_json:
        raise UsageError("--json prints a result at the end, and --serve goes on until Ctrl-C: use one of them")


def run(
    stream: StreamFileName,
    /,
    *,
    predictors: Annotated[int, Parameter(help="Number of predictors.")] = 1,
    until_idle: Annotated[
        str | None,
        Parameter(help="End when all is read, learned and checkpointed, after this time without progress (5s)."),
    ] = None,
    new_epoch: Annotated[
        Literal["fresh", "replay", "keep"] | None,
        Parameter(help="Begin a new epoch after a change of model, contract or log; see `learner --help`."),
    ] = None,
    code: CodePolicy = "version",
    http: HttpBeside = NO_HTTP,
    where: WhereWithBroker = HERE_WITH_BROKER,
    monitoring: MonitoringOfRun = UNWATCHED_RUN,
) -> int:
    """Run all roles of a stream on this machine, each a supervised process. Ctrl-C stops them cleanly.

    Checks the stream first, starts the embedded Kafka unless --bootstrap names another, and creates the topics.

    Example: millstream run my_stream.py --predictors 2
    """
    from millstream.stream.duration import milliseconds

    if predictors < 1:
        raise UsageError(f"--predictors {predictors} must be at least 1")
    server, console = http.options(code), http.console(code)  # checked also without --serve
    most = predictors + http.workers + len(roles.TABLE) - 1
    metrics, ratio = monitoring.address(ports=most), monitoring.ratio()
    span = None if until_idle is None else milliseconds(until_idle) / 1000
    from millstream.observability import role_log
    from millstream.processes.run_stream import RunOptions
    from millstream.processes.run_stream import run as run_roles

    # People read this output, also from a file; JSON only if it is requested explicitly.
    form: Literal["text", "json"] = "json" if monitoring.log_format == "json" else "text"
    role_log.begin(form, role="run")
    settings, loaded = where.settings(), load_file(stream, "run")
    role_log.about(stream=f"{settings.prefix}{loaded.stream.name}")
    left_out = (roles.MONITOR,) if monitoring.no_monitor else ()
    options = RunOptions(predictors, span, new_epoch, metrics, form, ratio, code, left_out)
    if http.serve:
        if http.publish != "spool":
            raise UsageError(f"--publish {http.publish} is for `millstream server`: `run --serve` runs a forwarder")
        from millstream.processes.serving import serving

        server.require(settings)
        http.require_console_free()
        beside = http.beside(stream, code, console=console)
        options = replace(options, beside=lambda names: serving(beside, settings, names, server))
    return run_roles(stream, loaded, settings, options, role_log.say)
