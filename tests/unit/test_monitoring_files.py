"""The dashboard, the alert rules and the example: they ask for nothing that no role has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from consumers.joiner.offset_metadata import JoinerMetadata
from millstream.observability.prometheus.catalog import METRICS
from millstream.observability.prometheus.collector import LABEL_STATES, PREDICTION_STATES, RoleCollector
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.role_metrics import RoleMeter
from runtime.kafka_client.records import CommittedOffset, Partition

FOLDER: Final = Path(__file__).resolve().parents[2] / "deploy" / "monitoring"
ALWAYS: Final = {"stream", "role", "job", "instance", "le"}
# What prometheus_client shows of every process, and what Prometheus adds.
OTHERS: Final = {"process_resident_memory_bytes", "process_cpu_seconds_total", "up"}


def dashboard() -> Any:
    return json.loads((FOLDER / "dashboard.json").read_text())


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for rule in rules():
        yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("title", "query"), [pytest.param(*each, id=f"{each[0]}") for each in queries()])
def test_a_query_asks_for_metrics_and_labels_that_exist(title: str, query: str) -> None:
    asked = re.findall(r"\b((?:millstream|process|python)_\w+|up)\b(?:\{([^}]*)\})?", query)
    assert asked
    for name, selector in asked:
        known = METRICS.get(re.sub(r"_(bucket|sum|count)$", "", name))
        assert known is not None or name in OTHERS, f"{name} is no metric"
        if name.endswith("_bucket"):
            assert known is not None
            assert known.kind == "histogram"
            assert re.search(r"by \([^)]*\ble\b", query), "without le there is no quantile"
        if known is not None and known.kind == "counter":
            assert re.search(rf"(rate|increase)\({name}\b", query), f"{name} only grows: its rate says something"
        for label in re.findall(r"(\w+)\s*[=!]~?\s*\"", selector):
            assert label in ALWAYS | set(known.labels if known else ()), f"{name} has no {label}"


def test_every_metric_but_those_of_one_process_is_on_the_dashboard() -> None:
    shown = " ".join(query for title, query in queries())
    left_out = {name for name in METRICS if name not in shown}
    assert left_out == {
        "millstream_partitions", "millstream_last_turn_timestamp_seconds", "millstream_last_commit_timestamp_seconds",
        "millstream_transactions_committed_total", "millstream_served_version_epoch", "millstream_checkpoint_epoch",
        "millstream_transactions_overlapped_total", "millstream_events_gone_total", "millstream_checkpoints_total",
    }  # fmt: skip


def test_panels_neither_overlap_nor_share_an_id() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["description"].endswith("."), rule["alert"]


def promtool(*words: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not here; Debian's package prometheus has it")
    return subprocess.run([tool, *words], input=given, capture_output=True, check=False, timeout=30)


def test_promtool_takes_the_rules_and_the_example() -> None:
    for words in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        done = promtool("check", words[0], str(FOLDER / words[1]))
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("role", ["predictor", "joiner", "learner"])
def test_promtool_has_nothing_to_say_of_the_metrics(role: str, tmp_path: Path) -> None:
    meter = RoleMeter(Ends(tmp_path / "ends.json"))
    labels = Partition("fraud.labels", 0)
    meter.assigned([labels])
    meter.committed(
        [],
        {labels: CommittedOffset(1, JoinerMetadata(1, "e", "i", {"joined": 1}, waiting=(1, 1), oldest=1).encode())},
        0.1,
    )
    meter.lag({labels: 1})
    registry = CollectorRegistry()
    registry.register(RoleCollector(meter, "fraud", role, f"fraud.{role}-0"))
    done = promtool("check", "metrics", given=generate_latest(registry))
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_the_document_has_every_alert_and_state_and_names_metrics_that_exist() -> None:
    """The table of all metrics is docs/reference/metrics.md, which is generated."""
    document = (FOLDER.parents[1] / "docs" / "monitoring.md").read_text()
    assert "](reference/metrics.md)" in document
    assert set(re.findall(r"`(millstream_\w+)`", document)) <= set(METRICS)
    for rule in rules():
        assert f"| `{rule['alert']}` |" in document
    told = {line for line in document.splitlines() if line.startswith("| `")}
    for state in (*LABEL_STATES, *PREDICTION_STATES):
        assert any(f"`{state}`" in line.split("|")[1] for line in told), state
