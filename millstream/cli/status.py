"""`millstream status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cyclopts

from millstream.cli.common import (
    HERE,
    Json,
    StreamName,
    Where,
    full_names,
    print_fields,
    print_json,
    print_table,
    to_create,
)

if TYPE_CHECKING:
    from millstream.status import Model, Report


def register(parent: cyclopts.App) -> None:
    """Add this command."""
    parent.command(status)


def status(stream: StreamName, /, *, where: Where = HERE, json: Json = False) -> None:
    """Show lag of every stage, labels by state, the served version, delays, throughput and free disk.

    Looks twice, a second apart, for the throughput. Works while roles are down, and says so.

    Example: millstream status phishing
    """
    from millstream import status as stream_status
    from millstream.observe import Observer

    settings = where.settings()
    cluster = settings.cluster()
    names = full_names(stream, settings, cluster)
    with Observer(cluster, names) as observer:
        typed = stream_status.Typed(stream, to_create(stream))
        report = stream_status.watch(observer, names.stream, cluster.bootstrap, settings.home, typed=typed)
    if json:
        print_json(stream_status.as_json(report))
    else:
        _print(report)


def _learning(model: Model) -> str:
    if model.full:
        return "stopped: the model is as large as it may be"
    return "paused" if model.paused else "on"


def _labels_from(report: Report) -> dict[str, list[str]]:
    """Return what became of the messages of each topic that labels come from."""
    lines = [
        f"{topic}: {each['mapped']} mapped, {each['skipped']} without a label yet, {each['refused']} refused, "
        f"{each['lag']} not read"
        for topic, each in report.labels_from.items()
    ]
    return {"labels from": lines} if lines else {}


def _print(report: Report) -> None:
    from millstream.duration import spoken

    print(f"{report.stream} on {report.bootstrap}")
    rows = [(stage.role, stage.processes, stage.lag, stage.done, stage.per_second) for stage in report.stages]
    print_table(("stage", "processes", "lag", "done", "a second"), rows)
    model = report.model
    print_fields(
        {
            "served version": "none yet"
            if model.served is None
            else f"{model.served}, for {spoken(model.age_ms or 0)}",
            "newest version": model.newest,
            "pinned version": model.pinned,
            "learning": _learning(model),
            "model": None if model.model_bytes is None else f"{model.model_bytes / 1e6:.3g} MB",
            "label to served": None if model.delay_ms is None else spoken(model.delay_ms),
            "labels": ", ".join(f"{count} {state}" for state, count in report.labels.items()),
            **_labels_from(report),
            "events waiting": report.events_waiting,
            "events never answered": report.events_gone,
            "dead letters": report.dead_letters if report.dead_letters_exact else f"at least {report.dead_letters}",
            "free disk": f"{report.disk_free_bytes / 1e9:.1f} of {report.disk_total_bytes / 1e9:.1f} GB",
        }
    )
    for alert in report.alerts:
        print(f"! {alert}")
