"""Rendering of `millstream status --watch`: a report as a terminal page, or as one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from consumers.model.quality import Quality
from consumers.roles import INTAKE, LEARNER, PREDICTOR, named
from millstream.status.competitors import Competitor
from millstream.status.report import Model, Report, Stage
from millstream.status.snapshot import kinds_read
from schemas.duration_text import spoken

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

_BETWEEN: Final = "──▶ "
_BESIDE: Final = "  + "  # an intake does not read the previous role's output: both feed the joiner
_WIDEST: Final = 120
_NARROWEST_BOX: Final = 13  # `predictor` and its frame
_PART: Final = 40  # columns of a name and its value
_GOOD, _WAITS, _BAD, _QUIET = "green", "yellow", "bold red", "dim"


def line(report: Report) -> str:
    """Return a report as one line.

    >>> from millstream.status.report import Model, Report, Stage
    >>> model = Model("1/200", 1000, "1/200", None, False, None, {})
    >>> line(Report("fraud", "k:1", 0, (Stage(PREDICTOR, 2, 5, 9, 3.0),), {}, 0, model, 0, True, 1, 1, ()))
    'predictor 2 at work, 3/s, lag 5 | served 1/200 | learning on | 0 dead letters | 0 alerts'
    """
    stages = [
        f"{each.role} {each.processes or 'none'} at work, {_rate(each)}, lag {each.lag:,}" for each in report.stages
    ]
    model, letters = report.model, _letters(report)
    facts = [
        f"served {model.served or 'none yet'}",
        f"learning {learning(model)}",
        *([] if report.http is None else [f"HTTP: {report.http.line()}"]),
        f"{letters} dead letters",
        f"{len(report.alerts)} alerts",
    ]
    return " | ".join((*stages, *facts))


def used_clients(clients: Mapping[str, str]) -> str:
    """Return the Kafka clients of some processes: one for all if they use the same, else process by process.

    >>> used_clients({"predictor-0": "librdkafka 2.16.1", "predictor-1": "librdkafka 2.16.1"})
    'librdkafka 2.16.1'
    >>> used_clients({"predictor-0": "librdkafka 2.16.1", "predictor-1": "", "predictor-2": "librdkafka 2.16.1"})
    'librdkafka 2.16.1 (predictor-0, predictor-2), unknown (predictor-1)'
    """
    by_client: dict[str, list[str]] = {}
    for name, client in clients.items():
        by_client.setdefault(client or "unknown", []).append(name)
    if len(by_client) < 2:
        return next(iter(by_client), "–")
    return ", ".join(f"{client} ({', '.join(names)})" for client, names in by_client.items())


def clients_of(report: Report) -> dict[str, str]:
    """Return the Kafka client of every process, by its name."""
    return {name: client for stage in report.stages for name, client in stage.clients.items()}


def again(report: Report) -> list[str]:
    """Return a line for each process that was started again a moment ago."""
    since = {name: report.at - at for name, at in report.started_again.items()}
    return [f"{name} was started again {f'{spoken(ms)} ago' if ms > 0 else 'just now'}" for name, ms in since.items()]


def quality_lines(found: Quality) -> list[str]:
    """Return each served metric beside the baselines, and how many labels that is of."""
    short = found.labels < found.window
    of = f"over the newest {found.labels:,} labels" + (f" (compared from {found.window:,} on)" if short else "")
    return [*map(str, found.metrics), of]


def competitor_text(each: Competitor) -> str:
    """Return one of several models in a few words.

    >>> competitor_text(Competitor("forest", "forest:1/20", True, False, 5, 1, {"Accuracy": 0.875}))
    'forest:1/20 serves, 5 behind, Accuracy 0.875'
    """
    said = each.newest or f"{each.name} none yet"
    name = said if ":" in said or each.newest is None else f"{each.name}:{said}"
    parts = [f"{name} serves" if each.serves else name]
    if each.paused:
        parts.append("paused")
    if not each.processes:
        parts.append("NO LEARNER RUNS")
    if each.lag:
        parts.append(f"{each.lag:,} behind")
    first = next(iter(each.metrics.items()), None)
    if first is not None:
        parts.append(f"{first[0]} {first[1]:.4g}")
    return ", ".join(parts)


def learning(model: Model) -> str:
    """Return whether the model learns, as a short phrase."""
    if model.full:
        return "stopped: the model is as large as it may be"
    return "paused" if model.paused else "on"


class Page:
    """A report for a terminal: a drawing of the loop with its numbers, and the alerts.

    Parameters
    ----------
    report
        `None` before the first.
    note
        Text at the top: the refresh interval, or the reason why there is no newer report.
    stale
        The report is older than it should be, for the reason in `note`: the present state is unknown.
    """

    def __init__(self, report: Report | None, note: str, stale: bool = False) -> None:
        self._report = report
        self._note = note
        self._stale = stale

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width = min(options.max_width, _WIDEST)
        lines = [Text(self._note, style=_QUIET)] if self._report is None else [*self._lines(self._report, width)]
        height = options.height or console.height
        for each in lines[: max(1, height - 1)]:
            each.truncate(width, overflow="ellipsis")
            yield each

    def _lines(self, report: Report, width: int) -> Iterator[Text]:
        from rich.text import Text

        at = datetime.fromtimestamp(report.at / 1000).astimezone().strftime("%H:%M:%S")
        head = f"{report.stream} on {report.bootstrap}"
        told = f"as of {at}" if self._stale else f"{at} {self._note}"
        yield Text.assemble((head, "bold"), " " * max(1, width - len(head) - len(told)), (told, _QUIET))
        yield Text()
        yield from _loop(report, width)
        yield Text()
        yield from _facts(report, width)
        yield Text()
        if self._stale:
            yield Text(f"! {' '.join(self._note.split())}", style=_BAD)
            yield Text(f"what is shown is as of {at}", style=_WAITS)
        for alert in report.alerts:
            yield Text(f"! {' '.join(alert.split())}", style=_BAD)
        for told in again(report):
            yield Text(told, style=_WAITS)
        if not report.alerts and not self._stale:
            yield Text("nothing needs a person", style=_GOOD)


# --- the loop -------------------------------------------------------------------------------------


def _loop(report: Report, width: int) -> Iterator[Text]:
    """Draw the roles from left to right, and below them the way of versions back to the predictor."""
    from rich.text import Text

    stages = [stage for stage in report.stages if not named(stage.role).beside]
    room = width - len(_BETWEEN) * (len(stages) - 1)
    box = max(_NARROWEST_BOX, min(30, room // max(1, len(stages))))
    for row, cells in enumerate(zip(*(_box(stage, box) for stage in stages), strict=True)):
        drawn = Text()
        for index, each in enumerate(cells):
            if index:
                between = _BESIDE if stages[index].role == INTAKE else _BETWEEN
                drawn.append(between if row == 3 else " " * len(between), style=_QUIET)
            drawn.append_text(each)
        yield drawn
    yield from _back(report, box)


def _box(stage: Stage, width: int) -> list[Text]:
    from rich.text import Text

    frame = _GOOD if stage.processes and not stage.crashed else _BAD
    inner = width - 4
    at_work = (f"{len(stage.crashed)} CRASHED" if stage.crashed else "NONE RUNS", frame)
    if stage.processes:
        at_work = (f"{stage.processes} at work{f', {len(stage.crashed)} CRASHED' if stage.crashed else ''}", frame)
    reads = (", ".join(kinds_read(stage.role)), _QUIET)
    rows = (reads, at_work, (_rate(stage), ""), (f"lag {stage.lag:,}", _WAITS if stage.lag else _GOOD))
    title = f"╭ {stage.role} "
    lines = [Text(title + "─" * (width - len(title) - 1) + "╮", style=frame)]
    for text, style in rows:
        lines.append(Text.assemble(("│ ", frame), (f"{text[:inner]:<{inner}}", style), (" │", frame)))
    return [*lines, Text("╰" + "─" * (width - 2) + "╯", style=frame)]


def _back(report: Report, box: int) -> Iterator[Text]:
    """Draw the way of a version from the learner to the predictors, with the served version and its delay."""
    from rich.text import Text

    roles = [stage.role for stage in report.stages if not named(stage.role).beside]
    if not {PREDICTOR, LEARNER} <= {*roles}:
        return
    first, last = (roles.index(role) * (box + len(_BETWEEN)) + box // 2 for role in (PREDICTOR, LEARNER))
    delay = "" if report.model.delay_ms is None else f", label to served {spoken(report.model.delay_ms)}"
    said = f" serves {report.model.served or 'nothing yet'}{delay} "
    style = _GOOD if report.model.served else _WAITS
    room = last - first - 1
    yield Text(f"{'':{first}}▲{'':{room}}│", style=style)
    yield Text(f"{'':{first}}└{said[:room]:─^{room}}┘", style=style)


def _rate(stage: Stage) -> str:
    return "–/s" if stage.per_second is None else f"{stage.per_second:,g}/s"


# --- facts ----------------------------------------------------------------------------------------


def _facts(report: Report, width: int) -> Iterator[Text]:
    """Return names and values: two on a line if there is room, long ones on separate lines."""
    from rich.text import Text

    model = report.model
    served = "none yet" if model.served is None else f"{model.served}, for {spoken(model.age_ms or 0)}"
    letters = _letters(report)
    free = f"{report.disk_free_bytes / 1e9:.1f} of {report.disk_total_bytes / 1e9:.1f} GB"
    size = "–" if model.model_bytes is None else f"{model.model_bytes / 1e6:.3g} MB"
    facts = [
        ("served version", served, _GOOD if model.served else _WAITS),
        ("learning", learning(model), _WAITS if model.paused or model.full else _GOOD),
        ("newest version", model.newest or "none yet", ""),
        ("pinned version", pinned(model), _WAITS if model.pinned else ""),
        ("model", size, ""),
        ("events waiting", f"{report.events_waiting:,}", ""),
        ("dead letters", letters, _GOOD if letters == "0" else _BAD),
        ("free disk", free, ""),
    ]
    columns = 2 if width >= 2 * _PART else 1
    for start in range(0, len(facts), columns):
        drawn = Text()
        for name, value, style in facts[start : start + columns]:
            cell = Text.assemble((f"{name:<16}", _QUIET), (value, style))
            cell.truncate(_PART - 1 if columns > 1 else width, overflow="ellipsis")
            drawn.append_text(cell)
            drawn.append(" " * (_PART - cell.cell_len))
        drawn.rstrip()
        yield drawn
    yield from _folded("Kafka client", used_clients(clients_of(report)).split(", "), width)
    if report.http is not None:
        yield from _folded("answers over HTTP", [report.http.line()], width)
    if report.compared is not None:
        yield from _folded("shadow answers", report.compared.lines(), width)
    if report.contest is not None:
        yield from _folded("contest", report.contest.lines(), width)
    if report.watched is not None:
        yield from _folded("monitoring", [report.watched.line()], width)
    if report.jobs is not None:
        yield from _folded("jobs", [report.jobs.line()], width)
    yield from _folded("alerts to", [each.line() for each in report.targets], width)
    if report.uploads is not None:
        yield from _folded("uploads", [report.uploads.line()], width)
    yield from _folded("labels", [f"{count:,} {state}" for state, count in report.labels.items()], width)
    if model.quality is not None:
        # One line of the page: `millstream status` without --watch has every metric.
        worse = _WAITS if model.quality.worse else ""
        yield Text.assemble((f"{'served metric':<16}", _QUIET), (model.quality.verdict, worse))
    yield from _folded("models", [competitor_text(each) for each in report.models], width)
    beside = [stage for stage in report.stages if named(stage.role).beside and stage.role != LEARNER]
    lags = [f"{stage.role} {stage.processes or 'NONE'} at work, lag {stage.lag:,}" for stage in beside]
    yield from _folded("beside the loop", lags, width)
    yield from _folded("progressive", [f"{name} {value:.4g}" for name, value in model.metrics.items()], width)


def _folded(name: str, parts: Sequence[str], width: int) -> Iterator[Text]:
    """Return a list under its name, wrapped between its parts."""
    from rich.text import Text

    rows: list[str] = []
    for part in parts:
        if rows and len(rows[-1]) + len(part) + 2 <= width - 16:
            rows[-1] += f", {part}"
        else:
            rows.append(part)
    for index, row in enumerate(rows):
        yield Text.assemble((f"{'' if index else name:<16}", _QUIET), row)


def _letters(report: Report) -> str:
    return f"{report.dead_letters:,}" if report.dead_letters_exact else f"at least {report.dead_letters:,}"


def pinned(model: Model) -> str:
    """Return the pinned version, with the alert whose rule has pinned it."""
    return f"{model.pinned or 'none'}{f' by {model.pinned_by}' if model.pinned_by else ''}"
