"""What the notifier writes beside its offset, and what status and metrics say of it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from prometheus_client.registry import CollectorRegistry
from rich.console import Console
from unit.test_status import _DISK, _done

from consumers.notifier.notifier import MOST_WITHHELD
from consumers.notifier.offset_metadata import NotifierMetadata, TargetNote
from consumers.roles import NOTIFIER
from millstream.cli.status import _print
from millstream.observability.prometheus.collector import RoleCollector
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.role_metrics import RoleMeter
from millstream.status.render import Page
from millstream.status.report import Report, as_json, report
from millstream.status.snapshot import Commit
from millstream.stream.notify import MOST_TARGETS
from runtime.kafka_client import size_limits
from runtime.kafka_client.records import CommittedOffset, Partition

TEXT = (
    '{"t":"0123456789abcdef","gone":0,"begun":0,"targets":{"ops":[9,0,5,0,7,2],"pager":[4,390000,3,1,3,40]},'
    '"withheld":{"monitor.a":6},"alerts":["notifier.target.pager"]}'
)
METADATA = NotifierMetadata(
    topic_id="0123456789abcdef",
    targets={"ops": TargetNote(9, 0, 5, 0, 7, 2), "pager": TargetNote(4, 390_000, 3, 1, 3, 40)},
    withheld={"monitor.a": 6},
    alerts=["notifier.target.pager"],
)


def test_a_text_is_read_and_written_again_to_the_letter() -> None:
    assert METADATA.encode() == TEXT
    assert NotifierMetadata.decode(TEXT) == METADATA


def test_what_an_earlier_release_wrote_of_a_target_is_read() -> None:
    old = NotifierMetadata.decode('{"t":"","targets":{"ops":[9,0,5,1]}}')
    assert old is not None
    assert old.targets == {"ops": TargetNote(9, 0, 5, 1, 0, 0)}


def test_the_most_that_is_remembered_fits_beside_an_offset() -> None:
    names = [f"{number:02}".ljust(31, "x") for number in range(MOST_TARGETS)]
    most = NotifierMetadata(
        topic_id="f" * 16,
        gone=10**12,
        begun=1000,
        targets=dict.fromkeys(names, TargetNote(10**12, 10**13, 10**10, 10**10, 10**10, 10**10)),
        withheld=dict.fromkeys((f"{number:064}" for number in range(MOST_WITHHELD)), 10**12),
        alerts=[f"notifier.target.{name}" for name in names],
    )
    assert len(most.encode()) <= size_limits.OFFSET_METADATA


def test_a_stream_is_at_rest_while_a_dead_target_is_tried_and_an_alertmanager_reminded() -> None:
    later = replace_counts(METADATA, accepted=8, failed=50)
    assert later.but_for_clocks() == METADATA.but_for_clocks()
    assert replace_counts(METADATA, delivered=6).but_for_clocks() != METADATA.but_for_clocks()


def replace_counts(of: NotifierMetadata, **counts: int) -> NotifierMetadata:
    ops = msgspec.structs.replace(of.targets["ops"], **counts)
    return msgspec.structs.replace(of, targets={**of.targets, "ops": ops})


def told() -> Report:
    committed = {**_done().committed, NOTIFIER: {("alerts", 0): Commit(4, METADATA)}}
    members = {**_done().members, NOTIFIER: 1}
    asked = (*_done().asked_for, NOTIFIER)
    now = replace(_done(), at_ms=990_000, committed=committed, members=members, asked_for=asked)
    return report(now, "fraud", "b:1", _DISK)


def test_the_status_says_what_was_delivered_to_each_target(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["ops: 5 alerts delivered", "pager: 3 alerts delivered, 1 given up, failing for 10 min"]
    assert [each.line() for each in told().targets] == lines
    _print(told())
    printed, page = capsys.readouterr().out, io.StringIO()
    Console(file=page, width=160, height=40, force_terminal=False).print(Page(told(), ""))
    for line in lines:
        assert line in printed
        assert line in page.getvalue()
    assert [*as_json(told())["targets"]] == [
        {"name": "ops", "delivered": 5, "lost": 0, "accepted": 7, "failed": 2, "failing_ms": None},
        {"name": "pager", "delivered": 3, "lost": 1, "accepted": 3, "failed": 40, "failing_ms": 600_000},
    ]


def test_a_stream_without_targets_has_none() -> None:
    assert report(_done(), "fraud", "b:1", _DISK).targets == ()


def test_the_metrics_are_by_target(tmp_path: Path) -> None:
    meter = RoleMeter(Ends(tmp_path / "ends.json"))
    place = Partition("s.alerts", 0)
    meter.assigned([place])
    meter.committed([], {place: CommittedOffset(4, TEXT)}, 0.01)
    registry = CollectorRegistry()
    registry.register(RoleCollector(meter, "s", NOTIFIER, "s.notifier-0"))
    of = {"stream": "s", "role": NOTIFIER, "target": "pager"}
    value = registry.get_sample_value
    assert value("millstream_alerts_delivered_total", of) == 3
    assert value("millstream_alerts_lost_total", of) == 1
    assert value("millstream_alerts_lost_total", {**of, "target": "ops"}) == 0
    assert value("millstream_deliveries_total", {**of, "state": "accepted"}) == 3
    assert value("millstream_deliveries_total", {**of, "state": "failed"}) == 40
    assert value("millstream_target_failing", of) == 1
    assert value("millstream_target_failing", {**of, "target": "ops"}) == 0
