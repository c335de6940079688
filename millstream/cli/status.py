"""`millstream status`: lag, labels, served version and alerts of a stream, once or live."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from millstream.cli.shared_options import (
    HERE,
    STREAM_HELP,
    Json,
    UsageError,
    Where,
    full_names,
    print_fields,
    print_json,
    print_table,
    size_text,
    to_create,
)

if TYPE_CHECKING:
    from millstream.config.settings import Settings
    from millstream.status.report import Report
    from millstream.status.watch import Looks
    from runtime.kafka_client.cluster import Cluster


_QUICKEST_S = 0.2


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(status)


def status(
    stream: Annotated[
        str | None, Parameter(name="STREAM", help=f"{STREAM_HELP} Without one, all streams are listed.")
    ] = None,
    /,
    *,
    watch: Annotated[
        bool, Parameter(negative="", help="Update until Ctrl-C; without a terminal, print one line per update.")
    ] = False,
    interval: Annotated[str, Parameter(help="Time between updates with --watch, such as 500ms.")] = "2s",
    where: Where = HERE,
    json: Json = False,
) -> None:
    """Show lag of every stage, labels by state, served version and metrics, delays, throughput and free disk.

    Takes a second, to measure the throughput. Also works while roles are down, and says so. Without a stream, lists all
    streams of the cluster (with --prefix, those with it): state, served metric against its baseline, and what needs a
    person.

    Example: millstream status phishing
    """
    from millstream.status import report as stream_status
    from millstream.status.snapshot import Observer
    from millstream.status.this_machine import with_processes_here
    from millstream.status.watch import Looks
    from millstream.stream.duration import milliseconds

    seconds = milliseconds(interval) / 1000
    if seconds < _QUICKEST_S:
        raise UsageError(f"--interval {interval} must be at least {_QUICKEST_S:g}s")
    settings = where.settings()
    cluster = settings.cluster()
    if stream is None:
        if watch:
            raise UsageError("--watch shows one stream: name it. `millstream status` lists all")
        _list(settings, cluster, json)
        return
    names = full_names(stream, settings, cluster)
    typed = stream_status.Typed(stream, to_create(stream))
    if watch:
        _watch(Looks(cluster, names, settings.home, settings.state(names), typed), seconds, json)
        return
    with Observer(cluster, names, settings.state(names)) as observer:
        report = stream_status.watch(observer, names.stream, cluster.bootstrap, settings.home, typed=typed)
    report = with_processes_here(report, settings.state(names))
    if json:
        print_json(stream_status.as_json(report))
    else:
        _print(report)


def _list(settings: Settings, cluster: Cluster, json: bool) -> None:
    """Show all streams of the prefix: one line each, then what needs a person."""
    from millstream.cli.progress import Bar
    from millstream.status.overview import found_streams, overview

    found = found_streams(cluster, settings.prefix)
    with Bar("streams") as bar:
        states = list(overview(cluster, settings, found, bar.show))
    if json:
        plain = [each.plain() for each in states]
        print_json({"bootstrap": cluster.bootstrap, "prefix": settings.prefix, "streams": plain})
        return
    of = f" with prefix {settings.prefix}" if settings.prefix else ""
    if not states:
        print(f"no streams on {cluster.bootstrap}{of}: `millstream run FILE.py` begins one")
        return
    rows = [
        (
            each.stream,
            each.state,
            None if each.report is None else each.report.model.served,
            each.served,
            "yes" if each.needs else "no",
        )
        for each in states
    ]
    print_table(("stream", "state", "served version", "served metric", "needs a person"), rows)
    for each in states:
        for need in each.needs:
            print(f"! {each.stream}: {need}")
    if not any(each.needs for each in states):
        print("nothing needs a person")


def _watch(looks: Looks, seconds: float, json: bool) -> None:
    """Show repeated reports until Ctrl-C or SIGTERM, which are the normal end: exit code 0."""
    from millstream.processes.run_stream import stopping
    from millstream.status.watch import page, watch

    with stopping() as stop:
        try:
            if json or not sys.stdout.isatty():
                watch(looks, stop, seconds, _print_json_line if json else _print_line)
            else:
                with page(seconds) as show:
                    watch(looks, stop, seconds, show)
        except KeyboardInterrupt:
            pass  # a second Ctrl-C, while the last report waits for the broker
        finally:
            looks.close()


def _print_line(report: Report | None, why: str | None) -> None:
    from millstream.cli.shared_options import at
    from millstream.status.render import again, line

    if why is not None:
        print(why, flush=True)
    elif report is not None:
        told = (*(f"! {alert}" for alert in report.alerts), *again(report))
        print(at(report.at), line(report), *told, sep=" | ", flush=True)


def _print_json_line(report: Report | None, why: str | None) -> None:
    from millstream.status.report import as_json

    if why is not None:
        print(why, file=sys.stderr, flush=True)
    elif report is not None:
        print_json(as_json(report))


def _labels_from(report: Report) -> dict[str, list[str]]:
    """Return the counts of messages by result, for each topic that labels come from."""
    lines = [
        f"{topic}: {each['mapped']} mapped, {each['skipped']} without a label yet, {each['refused']} refused, "
        f"{each['lag']} not read"
        for topic, each in report.labels_from.items()
    ]
    return {"labels from": lines} if lines else {}


def _print(report: Report) -> None:
    from millstream.status.render import competitor_text, learning, pinned, quality_lines, used_clients
    from schemas.duration_text import spoken

    print(f"{report.stream} on {report.bootstrap}")
    rows = [
        (each.role, each.processes, each.lag, each.done, each.per_second, used_clients(each.clients))
        for each in report.stages
    ]
    print_table(("stage", "processes", "lag", "done", "a second", "Kafka client"), rows)
    model = report.model
    print_fields(
        {
            "served version": "none yet"
            if model.served is None
            else f"{model.served}, for {spoken(model.age_ms or 0)}",
            "newest version": model.newest,
            "pinned version": None if model.pinned is None else pinned(model),
            "learning": learning(model),
            "served metrics": None if model.quality is None else quality_lines(model.quality),
            "model file": None if model.model_bytes is None else size_text(model.model_bytes),
            **({"models": [competitor_text(each) for each in report.models]} if report.models else {}),
            **({} if report.compared is None else {"shadow answers": report.compared.lines()}),
            **({} if report.contest is None else {"contest": report.contest.lines()}),
            **({} if report.watched is None else {"monitoring": report.watched.line()}),
            **({} if report.jobs is None else {"jobs": report.jobs.line()}),
            **({"alerts to": [each.line() for each in report.targets]} if report.targets else {}),
            "label to served": None if model.delay_ms is None else spoken(model.delay_ms),
            "labels": ", ".join(f"{count} {state}" for state, count in report.labels.items()),
            **_labels_from(report),
            **({} if report.http is None else {"answers over HTTP": report.http.line()}),
            **({} if report.uploads is None else {"uploads": report.uploads.line()}),
            **({"consoles": f"{report.consoles} on this machine"} if report.consoles else {}),
            "events waiting": report.events_waiting,
            "events never answered": report.events_gone,
            "dead letters": report.dead_letters if report.dead_letters_exact else f"at least {report.dead_letters}",
            "free disk": f"{report.disk_free_bytes / 1e9:.1f} of {report.disk_total_bytes / 1e9:.1f} GB",
        }
    )
    for alert in report.alerts:
        print(f"! {alert}")
