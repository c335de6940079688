"""What the monitor writes beside its offsets, and what status and metrics say of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from prometheus_client.registry import CollectorRegistry
from unit.test_status import _DISK, _done

from consumers.monitor.judging_protocol import MOST_REMEMBERED
from consumers.monitor.offset_metadata import LONGEST_FINDING, MOST_FINDINGS, MonitorMetadata
from consumers.roles import MONITOR
from millstream.observability.prometheus.collector import RoleCollector
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.role_metrics import RoleMeter
from millstream.status.report import report
from millstream.status.snapshot import Commit
from runtime.kafka_client import size_limits
from runtime.kafka_client.records import CommittedOffset, Partition
from schemas.topics import Names

TEXT = (
    '{"t":"0123456789abcdef","gone":0,"begun":0,"open":9,"before":4,"windows":3,"events":17,"last":1700,"unreadable":1,'
    '"finding":2,"findings":["mean feature:x"],"judged":"{}"}'
)
METADATA = MonitorMetadata(
    topic_id="0123456789abcdef",
    open=9,
    before=4,
    windows=3,
    events=17,
    last=1700,
    unreadable=1,
    finding=2,
    findings=["mean feature:x"],
    judged="{}",
)


def test_a_text_is_read_and_written_again_to_the_letter() -> None:
    assert METADATA.encode() == TEXT
    assert MonitorMetadata.decode(TEXT) == METADATA


def test_the_most_that_is_remembered_fits_beside_an_offset() -> None:
    most = MonitorMetadata(
        topic_id="f" * 16,
        gone=10**12,
        begun=1000,
        open=10**15,
        before=10**15,
        windows=10**12,
        events=10**15,
        last=10**13,
        unreadable=10**12,
        finding=10**4,
        findings=["f" * LONGEST_FINDING] * MOST_FINDINGS,
        judged="j" * MOST_REMEMBERED,
    )
    assert len(most.encode()) <= size_limits.OFFSET_METADATA


def committed(judged: MonitorMetadata | None = None) -> dict[tuple[str, int], Commit]:
    watched = MonitorMetadata(windows=5, events=50, last=900_000, unreadable=2)
    return {
        ("predictions", 0): Commit(60, watched),
        ("examples", 0): Commit(30, MonitorMetadata(windows=2, events=25, last=800_000)),
        ("profiles", 0): Commit(7, judged or MonitorMetadata(finding=3, findings=["mean feature:x", "missing label"])),
    }


def test_the_status_says_what_was_watched_and_found() -> None:
    now = replace(_done(), at_ms=990_000)
    now = replace(now, committed={**now.committed, MONITOR: committed()}, members={**now.members, MONITOR: 1})
    told = report(now, "fraud", "b:1", _DISK)
    assert told.watched is not None
    assert told.watched.line() == (
        "7 windows of 75 events, 2 unreadable, the newest until 1.5 min ago; "
        "3 findings: mean feature:x, missing label, and 1 more"
    )
    calm = replace(now, committed={**now.committed, MONITOR: committed(MonitorMetadata())})
    watched = report(calm, "fraud", "b:1", _DISK).watched
    assert watched is not None
    assert watched.line().endswith("; no drift found")


def test_nobody_misses_a_monitor_where_none_has_worked() -> None:
    now = replace(_done(), missing=("profiles",))
    told = report(now, "fraud", "b:1", _DISK)
    assert MONITOR not in [stage.role for stage in told.stages]
    assert [alert for alert in told.alerts if "monitor" in alert or "profiles" in alert] == []
    assert told.watched is None
    gone = replace(now, committed={**now.committed, MONITOR: committed()})
    alerts = report(gone, "fraud", "b:1", _DISK).alerts
    assert "no monitor is running" in alerts
    assert "no topic profiles: run `millstream topics create fraud`" in alerts


def test_the_metrics_are_by_topic_and_partition() -> None:
    names = Names("s")
    meter = RoleMeter(Ends(Path("/nowhere/ends.json")))
    meter.names(names)
    places = {Partition(names.topic(kind), at): commit for (kind, at), commit in committed().items()}
    meter.assigned([*places])
    meter.committed(
        [],
        {at: CommittedOffset(each.offset, each.metadata.encode()) for at, each in places.items() if each.metadata},
        0.01,
    )
    registry = CollectorRegistry()
    registry.register(RoleCollector(meter, "s", MONITOR, "s.monitor-0"))
    of = {"stream": "s", "role": MONITOR}
    at = {**of, "topic": "predictions", "partition": "0"}
    assert registry.get_sample_value("millstream_windows_total", at) == 5
    assert registry.get_sample_value("millstream_watched_events_total", {**at, "topic": "examples"}) == 25
    assert registry.get_sample_value("millstream_unwatched_records_total", at) == 2
    assert registry.get_sample_value("millstream_window_timestamp_seconds", at) == 900
    assert registry.get_sample_value("millstream_findings", of) == 3
    assert registry.get_sample_value("millstream_windows_total", {**at, "topic": "profiles"}) is None
