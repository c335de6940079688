"""Report on a stream: lag of every role, labels by state, served version, delays, throughput, disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from consumers.intake.offset_metadata import IntakeMetadata
from consumers.joiner.offset_metadata import JoinerMetadata
from consumers.learner.offset_metadata import LearnerMetadata
from consumers.loop.log_faults import LogFault, way
from consumers.model.quality import Quality
from consumers.offset_metadata import kind_of
from consumers.predictor.offset_metadata import PredictorMetadata
from consumers.roles import INTAKE, LEARNER, MONITOR, learner_of
from millstream.reading.topic_readers import Counted
from millstream.status.compared_state import ComparedState, compared_state
from millstream.status.competitors import Competitor, competitors, version_of
from millstream.status.contest_state import ContestState, contest_state
from millstream.status.http_state import HttpState
from millstream.status.job_state import JobsState, jobs_state
from millstream.status.log_fault_states import log_faults
from millstream.status.monitor_state import MonitorState, monitor_state
from millstream.status.snapshot import LABELS_FROM, Observer, StreamSnapshot
from millstream.status.target_state import TargetState, target_states
from millstream.status.upload_state import UploadState
from millstream.status.usage import Usage
from schemas.alerts import Alert
from schemas.model_names import MAIN
from schemas.model_updates import Learning, Published, Serving
from schemas.topics import NOT_OURS, PROFILES

_LOW_DISK: Final = 1 << 30
_APART_S: Final = 1.0
_NONE: Final = Counted(0, exact=True)


class Typed(NamedTuple):
    """Stream argument of the commands that a report advises: of any, and of `topics create`, which needs the file."""

    any: str
    create: str


@dataclass(frozen=True)
class Stage:
    """One role: its processes, its lag, and its throughput a second (`None` with only one sample).

    `crashed` names processes of this machine that are gone, and that Kafka still takes for members; they do not count.
    `clients` gives the Kafka client of each process that is a member, such as ``librdkafka 2.16.1``. It is empty for a
    process that has not told it: one of an earlier release, or any while its group rebalances.
    """

    role: str
    processes: int
    lag: int
    done: int
    per_second: float | None
    crashed: tuple[str, ...] = ()
    clients: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """Versions as `epoch/examples`; times in ms.

    Attributes
    ----------
    served
        The version that predictors serve, by the newest swap; `None` before the first.
    age_ms
        Time since that swap.
    newest
        The newest announced version.
    pinned, pinned_by
        The version that a person, or an alert rule by a rollback, has chosen to serve, if any; the name of the alert.
    delay_ms
        Time from the oldest label learned by the served version to its first answer.
    quality
        Quality of the served answers beside the baselines, over the window.
    paused, model_bytes, full
        Of the model that serves: whether its learning is paused, its size in its newest version, and whether the size
        limit has stopped learning.
    """

    served: str | None
    age_ms: int | None
    newest: str | None
    pinned: str | None
    paused: bool
    delay_ms: int | None
    metrics: Mapping[str, float]
    model_bytes: int | None = None
    full: bool = False
    quality: Quality | None = None
    pinned_by: str | None = None


@dataclass(frozen=True)
class Report:
    """Report of `millstream status`. `dead_letters` is a lower bound unless `dead_letters_exact`.

    Attributes
    ----------
    alerts
        A line for each condition that needs an operator, found by the report or raised by a role.
    raised
        Alerts that roles have raised and not cleared.
    log_faults
        Faults for which roles cannot continue at their offsets in the log.
    events_gone
        Number of feature events that were deleted before a predictor read them, counted in offsets (an upper bound).
    started_again
        Times (ms) at which a process, such as ``predictor-0``, was restarted while `--watch` ran.
    labels_from
        By external topic that labels come from: counts of its messages by result, see `taken_in`.
    http
        HTTP server and forwarder of this machine, `None` if it never had any.
    uploads
        Uploads of this machine, `None` if it never had a server.
    consoles
        Number of consoles that run on this machine.
    usage
        By process of this machine, such as ``predictor-0``: its processor time and memory.
    compared, contest, watched
        State of the comparison of models, of their contest by the rule, and of the monitoring; `None` if there is none
        yet.
    models
        All models of a stream with several, its own first; empty with one.
    targets, jobs
        What reached each target of alerts; state of the jobs that train batch models, `None` if there is none yet.
    """

    stream: str
    bootstrap: str
    at: int
    stages: tuple[Stage, ...]
    labels: Mapping[str, int]
    events_waiting: int
    model: Model
    dead_letters: int
    dead_letters_exact: bool
    disk_free_bytes: int
    disk_total_bytes: int
    alerts: tuple[str, ...]
    raised: tuple[Alert, ...] = ()
    log_faults: tuple[LogFault, ...] = ()
    events_gone: int = 0
    started_again: Mapping[str, int] = field(default_factory=dict)
    labels_from: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    http: HttpState | None = None
    uploads: UploadState | None = None
    consoles: int = 0
    usage: Mapping[str, Usage] = field(default_factory=dict)
    compared: ComparedState | None = None
    contest: ContestState | None = None
    watched: MonitorState | None = None
    models: tuple[Competitor, ...] = ()
    targets: tuple[TargetState, ...] = ()
    jobs: JobsState | None = None


def watch(
    observer: Observer,
    stream: str,
    bootstrap: str,
    home: Path,
    apart: float = _APART_S,
    *,
    typed: Typed | None = None,
) -> Report:
    """Take two snapshots, `apart` seconds from each other, and return the report; for `typed` see `report`."""
    first, began = observer.look(), time.monotonic()
    time.sleep(apart)
    second = observer.look()
    seconds = time.monotonic() - began
    letters = observer.dead_letters() if _span(second, "dead-letters") else _NONE
    return report(second, stream, bootstrap, free_disk(home), first, seconds, letters=letters, typed=typed)


def report(
    now: StreamSnapshot,
    stream: str,
    bootstrap: str,
    disk: tuple[int, int],
    before: StreamSnapshot | None = None,
    seconds: float = 0.0,
    *,
    letters: Counted = _NONE,
    typed: Typed | None = None,
) -> Report:
    """Return the report on a snapshot; `before`, taken `seconds` earlier, gives the throughput.

    Parameters
    ----------
    letters
        The count of dead letters.
    typed
        The stream argument in the commands that alerts advise; by default the stream's name.
    """
    stages = tuple(_stage(now, role, before, seconds) for role in now.roles)
    model = served(now)
    typed = typed or Typed(stream, stream)
    faults, several = log_faults(now, stream), competitors(now, stream)
    return Report(
        stream=stream,
        bootstrap=bootstrap,
        at=now.at_ms,
        stages=stages,
        labels=labels(now),
        labels_from=taken_in(now),
        events_waiting=sum(_waiting(now, 0)),
        model=model,
        dead_letters=letters.records,
        dead_letters_exact=letters.exact,
        disk_free_bytes=disk[0],
        disk_total_bytes=disk[1],
        alerts=(*_log_alerts(now, faults, typed), *_alerts(now, stages, model, disk, typed, letters, several)),
        raised=now.alerts,
        log_faults=faults,
        events_gone=sum(each.gone for each in now.beside(PredictorMetadata)),
        models=several,
        compared=compared_state(now),
        contest=contest_state(now),
        watched=monitor_state(now),
        targets=target_states(now),
        jobs=jobs_state(now),
    )


def labels(now: StreamSnapshot) -> dict[str, int]:
    """Return labels by state. The states are disjoint and their sum is the number of labels received.

    `unmatched` labels came too late or for an unknown event, `refused` labels are among the dead letters.
    """
    states = ("joined", "duplicate", "correction", "contradicting", "late", "unknown", "refused")
    counts: dict[str, int] = dict.fromkeys(states, 0)
    for each in now.beside(JoinerMetadata):
        for name in counts:
            counts[name] += each.counts.get(name, 0)
    return {
        "waiting": sum(_waiting(now, 1)),
        "joined": counts["joined"],
        "duplicate": counts["duplicate"],
        "correction": counts["correction"],
        "contradicting": counts["contradicting"],
        "unmatched": counts["late"] + counts["unknown"],
        "refused": counts["refused"],
    }


def taken_in(now: StreamSnapshot) -> dict[str, dict[str, int]]:
    """Return, by topic that labels come from, the counts of its messages by result, and of those not read yet.

    `mapped` messages gave a label, `skipped` ones hold no label yet, `refused` ones are dead letters.
    """
    commits = now.committed.get(INTAKE, {})
    found: dict[str, dict[str, int]] = {}
    for topic in now.labels_from:
        beside = [commit.metadata for place, commit in commits.items() if place[0] == LABELS_FROM + topic]
        told = [each for each in beside if isinstance(each, IntakeMetadata)]
        found[topic] = {
            "mapped": sum(each.mapped for each in told),
            "skipped": sum(each.skipped for each in told),
            "refused": sum(each.refused for each in told),
            "lag": now.lag_of(INTAKE, LABELS_FROM + topic),
        }
    return found


def served(now: StreamSnapshot) -> Model:
    """Return the served version, from the predictors' offset metadata, and facts of the model that serves."""
    answering = [each for each in now.beside(PredictorMetadata) if each.version]
    newest = max(answering, key=lambda each: each.since_ms or 0, default=PredictorMetadata())
    published = now.published.state if now.published is not None else None
    serving = now.serving.state if now.serving is not None else None
    role = LEARNER if now.serves is None else learner_of(now.serves)
    learner = next((each for each in now.metadata(role) if isinstance(each, LearnerMetadata)), LearnerMetadata())
    pinned = now.rolled_back or (serving if isinstance(serving, Serving) and serving.epoch is not None else None)
    return Model(
        served=newest.version,
        age_ms=now.at_ms - newest.since_ms if newest.since_ms else None,
        newest=version_of(published) if isinstance(published, Published) else None,
        pinned=None if pinned is None else version_of(pinned),
        paused=now.is_paused(role),
        delay_ms=None if newest.delay_ms is UNSET else newest.delay_ms,
        metrics=published.metrics if isinstance(published, Published) else {},
        model_bytes=learner.model_bytes,
        full=learner.full,
        quality=None if learner.quality is UNSET else learner.quality,
        pinned_by=None if now.rolled_back is None else now.rolled_back.by,
    )


def progress(now: StreamSnapshot, role: str) -> int:
    """Return a role's amount of work: events answered, labels copied, examples written or learned."""
    if kind_of(role).counted:
        return sum(each.done() for each in now.metadata(role))
    commits = now.committed.get(role, {})
    return sum(max(0, commit.offset - now.begins.get(place, 0)) for place, commit in commits.items())


def free_disk(home: Path) -> tuple[int, int]:
    """Return free and total bytes of the disk that holds `home`, also before it exists."""
    there = next(each for each in (home, *home.parents) if each.exists())
    usage = shutil.disk_usage(there)
    return usage.free, usage.total


def _stage(now: StreamSnapshot, role: str, before: StreamSnapshot | None, seconds: float) -> Stage:
    rate = None
    if before is not None and seconds > 0:
        rate = round(max(0, progress(now, role) - progress(before, role)) / seconds, 1)
    gone = tuple(each for each in now.crashed if each.startswith(f"{role}-"))
    alive = max(0, now.members.get(role, 0) - len(gone))
    used = {name: client for name, client in now.clients.get(role, {}).items() if name not in gone}
    return Stage(role, alive, now.lag(role), progress(now, role), rate, gone, used)


def _waiting(now: StreamSnapshot, which: int) -> list[int]:
    return [each.waiting[which] for each in now.beside(JoinerMetadata)]


def _span(now: StreamSnapshot, kind: str) -> int:
    return sum(end - now.begins.get(place, 0) for place, end in now.ends.items() if place[0] == kind)


def _missing(now: StreamSnapshot, create: str) -> list[str]:
    found = [f"no topic {now.elsewhere[kind]}: {NOT_OURS}" for kind in now.missing if kind in now.elsewhere]
    there = {kind for kind, _ in now.ends}
    found += [f"no topic {topic}: {NOT_OURS}" for topic in now.labels_from if LABELS_FROM + topic not in there]
    unused = () if MONITOR in now.roles else (PROFILES,)  # an older stream has no such topic
    ours = [kind for kind in now.missing if kind not in (*now.elsewhere, *unused)]
    if ours:
        kinds = f"topic{'s' if len(ours) > 1 else ''} {', '.join(ours)}"
        found.append(f"no {kinds}: run `millstream topics create {create}`")
    return found


def _log_alerts(now: StreamSnapshot, faults: Sequence[LogFault], typed: Typed) -> list[str]:
    """Return a line for each fault for which the role has raised no alert."""
    raised = {alert.name for alert in now.alerts}
    return [f"{fault.name}: {fault}; {way(fault.role, typed.any)}" for fault in faults if fault.name not in raised]


def _alerts(
    now: StreamSnapshot,
    stages: Sequence[Stage],
    model: Model,
    disk: tuple[int, int],
    typed: Typed,
    letters: Counted,
    competitors: Sequence[Competitor],
) -> list[str]:
    found = _missing(now, typed.create)
    found += [f"{alert.name}: {alert.message}" for alert in now.alerts]
    found += [f"{name} has crashed: its process is gone" for stage in stages for name in stage.crashed]
    found += [f"no {stage.role} is running" for stage in stages if stage.processes == 0]
    for each in competitors:
        if each.paused and each.name != MAIN:
            way = f"`millstream resume {typed.any} --model {each.name}` restarts it"
            found.append(f"learning of {each.name} is paused: {way}")
    if now.is_paused(LEARNER):
        found.append(f"learning is paused{_reason(now)}: `millstream resume {typed.any}` restarts it")
    if letters.records:
        found.append(f"there are dead letters: `millstream dead-letters {typed.any}` shows them")
    if disk[0] < _LOW_DISK:
        found.append(f"only {disk[0] / 1e6:.0f} MB of disk are free")
    return found


def _reason(now: StreamSnapshot) -> str:
    """Return who paused learning, and the reason if one was given."""
    decided = now.learning.state if now.learning is not None else None
    if not isinstance(decided, Learning):
        return ""
    return f" by {decided.by}" + (f" ({decided.why})" if decided.why else "")


def as_json(found: Report) -> dict[str, Any]:
    """Return the report as JSON values, with the stages by role."""
    import dataclasses

    plain = dataclasses.asdict(dataclasses.replace(found, raised=()))
    for fault, of in zip(plain["log_faults"], found.log_faults, strict=True):
        fault["gone"] = of.gone
    plain["raised"] = [msgspec.structs.asdict(alert) for alert in found.raised]
    quality = found.model.quality
    if found.contest is not None:
        plain["contest"]["standings"] = [msgspec.structs.asdict(each) for each in found.contest.standings]
    plain["model"]["quality"] = None if quality is None else {**msgspec.to_builtins(quality), "worse": quality.worse}
    plain["stages"] = {stage["role"]: stage for stage in plain["stages"]}
    return plain
