"""The table of roles: one row more is found by all that goes by the table, and nothing else names a role."""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import CollectorRegistry
from unit.test_reference import PAGES
from unit.test_status import _DISK, _done
from unit.test_supervisor import _until as until

from consumers import roles
from consumers.loop.log_faults import alert_name, way
from consumers.offset_metadata import kind_of
from consumers.roles import WHOLE, Role
from millstream.cli.app import build
from millstream.config.settings import interpreter
from millstream.observability.prometheus.collector import RoleCollector
from millstream.observability.prometheus.exit_counts import Ends
from millstream.observability.prometheus.role_metrics import RoleMeter
from millstream.processes.run_stream import children
from millstream.processes.supervisor import Child, Supervisor
from millstream.status.report import report
from millstream.topics.acls import Right, principals, rights
from runtime.kafka_client.records import CommittedOffset, Partition
from schemas.topics import COMPARED, KINDS, METRICS, Names

ROOT = Path(__file__).parents[2]
PRODUCT = ("runtime", "schemas", "model_store", "producers", "consumers", "server", "millstream", "streams")
LISTING_PACKAGES = ("millstream/cli/app.py", "millstream/stream/stream_file.py")
OF_SCHEMAS = ("schemas/codec.py", "schemas/comparisons.py", "schemas/events.py")
# A version that a job has trained may be put into the shadow.
OF_DEPLOYMENTS = {"millstream/stream/batch.py", "consumers/trainer/rules.py"}
"""Files in which the name of the shadow role is a field or a value of a schema."""
WATCHED = Names("fraud", public=True)
"""A stream that asks for the role that is added; by what a stream asks is each role's own business."""
PLAIN = Names("fraud")
AUDITOR = Role(
    "auditor",
    stops=25,
    reads=("predictions",),
    follows=("models",),
    writes=("alerts",),
    asked_for=lambda names: names.public,
    onward="`millstream auditor {stream} --new-epoch fresh` goes on",
)


@pytest.fixture
def _auditor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "TABLE", (*roles.TABLE, AUDITOR))


@pytest.mark.usefixtures("_auditor")
def test_a_role_that_is_added_has_its_rights_and_others_see_where_it_stands() -> None:
    assert "auditor" in principals()
    found = rights(WATCHED, "auditor")
    assert {each.name for each in found if each.operation == "Read"} == {
        "fraud.predictions",
        "fraud.models",
        "fraud.auditor",
    }
    assert {each.name for each in found if (each.resource, each.operation) == ("topic", "Write")} == {"fraud.alerts"}
    assert Right("transactional-id", "fraud.auditor-", "Write", prefixed=True) in found
    assert Right("group", "fraud.auditor", "Describe") in rights(WATCHED, "operator")


@pytest.mark.usefixtures("_auditor")
def test_it_is_a_stage_in_the_status_with_its_lag() -> None:
    now = replace(_done(), asked_for=("auditor",))
    [stage] = [stage for stage in report(now, "fraud", "b:1", _DISK).stages if stage.role == "auditor"]
    assert (stage.processes, stage.lag) == (0, 48)
    assert "no auditor is running" in report(now, "fraud", "b:1", _DISK).alerts


@pytest.mark.usefixtures("_auditor")
def test_it_is_started_and_ended_in_its_turn() -> None:
    started = children("fraud.py", WATCHED, 2)
    assert [child.name for child in started] == [
        "predictor-0",
        "predictor-1",
        "joiner-0",
        "learner-0",
        "monitor-0",
        "auditor-0",
    ]
    assert started[-1].command == (*interpreter(), "auditor", "fraud.py", "--instance", "0")
    waits = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(print('bye') or 0)); print('up'); "
    said: list[str] = []
    supervisor = Supervisor(
        [Child(child.role, child.instance, (sys.executable, "-c", f"{waits}time.sleep(60)")) for child in started],
        os.environ,
        said.append,
    )
    supervisor.start()
    until(lambda: sum(line.endswith("| up") for line in said) == len(started), supervisor)
    supervisor.stop()
    ended = [line.split("-")[0] for line in said if line.endswith("| bye")]
    assert ended == ["predictor", "predictor", "auditor", "joiner", "learner", "monitor"]


@pytest.mark.usefixtures("_auditor")
def test_it_has_the_metrics_of_every_role_and_none_of_anothers(tmp_path: Path) -> None:
    meter = RoleMeter(Ends(tmp_path / "ends.json"))
    place = Partition("fraud.predictions", 0)
    meter.assigned([place])
    meter.lag({place: 7})
    meter.committed([], {place: CommittedOffset(1, kind_of("auditor")().encode())}, 0.01)
    registry = CollectorRegistry()
    registry.register(RoleCollector(meter, "fraud", "auditor", "fraud.auditor-0"))
    told = {family.name: family for family in registry.collect()}
    assert _values(told["millstream_lag_records"]) == [("auditor", 7.0)]
    assert _values(told["millstream_transactions_committed"]) == [("auditor", 1.0)]
    for name in ("millstream_version_swaps", "millstream_examples_joined", "millstream_checkpoints"):
        assert _values(told[name]) == []


def _values(family: Metric) -> list[tuple[str, float]]:
    return [(sample.labels["role"], sample.value) for sample in family.samples if not sample.name.endswith("_created")]


@pytest.mark.usefixtures("_auditor")
def test_the_reference_of_topics_and_what_is_said_of_a_changed_log_have_it() -> None:
    [row] = [line for line in PAGES["topics.md"]().splitlines() if line.startswith("| `STREAM.predictions`")]
    assert "auditor" in row.split("|")[6]
    assert way("auditor", "fraud") == "`millstream auditor fraud --new-epoch fresh` goes on"
    assert alert_name("auditor", "fraud.predictions", 0) == "auditor.predictions-0.log"


@pytest.mark.usefixtures("_auditor")
def test_a_stream_that_does_not_ask_for_an_optional_role_has_none_of_it() -> None:
    assert rights(PLAIN, "auditor") == []
    assert "auditor" not in [child.role for child in children("fraud.py", PLAIN, 1)]
    assert "auditor" not in [stage.role for stage in report(_done(), "fraud", "b:1", _DISK).stages]
    assert [role.name for role in roles.of_stream(PLAIN)] == ["predictor", "joiner", "learner", "monitor"]


def test_a_run_leaves_the_monitor_out_if_it_is_told_to() -> None:
    started = children("fraud.py", PLAIN, 1, left_out=(roles.MONITOR,))
    assert [child.role for child in started] == ["predictor", "joiner", "learner"]


# --- the table itself --------------------------------------------------------------------------------


def test_every_row_fits_the_rest() -> None:
    names = roles.names_of_all()
    kinds = {*KINDS, *COMPARED, METRICS, WHOLE}
    assert len({*names}) == len(names)
    assert len({role.stops for role in roles.TABLE}) == len(names)
    for role in roles.TABLE:
        assert {*role.reads, *role.follows, *role.writes, *role.writes_if_compared} <= kinds, role.name
        assert {*role.sees} <= {*names} - {role.name}, role.name
        assert not {"labels", "models"} <= {*role.writes}, role.name
        assert role.reads or role.reads_label_topics or role.on_demand, role.name
        assert role.onward.startswith(f"`millstream {role.name} {{stream}}"), role.name
        assert role.on_demand or kind_of(role.name).role == role.name


def test_every_role_has_its_command() -> None:
    commands = build({}, "none")
    for role in roles.TABLE:
        assert commands[role.command("fraud.py", "0")[0]].default_command is not None


def test_the_composed_services_run_every_role_that_each_stream_has() -> None:
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    run = {service["command"][0] for service in composed["services"].values() if "command" in service}
    assert {role.name for role in roles.TABLE if not role.optional} <= run
    assert run <= {*roles.names_of_all(), "topics"}


def test_rules_and_dashboard_ask_for_roles_that_there_are() -> None:
    folder = ROOT / "deploy" / "monitoring"
    text = "".join((folder / name).read_text() for name in ("alerts.yml", "dashboard.json"))
    named = {role for found in re.findall(r'role=~?\\?"([^"\\]+)', text) for role in found.split("|")}
    assert named
    assert named <= {*roles.names_of_all()}


def _other_meanings(path: Path) -> set[str]:
    """Return the names of roles that mean something else in a file."""
    name = path.relative_to(ROOT).as_posix()
    shadow = name in OF_SCHEMAS or name in OF_DEPLOYMENTS
    return {*(PRODUCT if name in LISTING_PACKAGES else ()), *((roles.SHADOW,) if shadow else ())}


def _literals(path: Path) -> Iterator[str]:
    names = {*roles.names_of_all()}
    for node in ast.walk(ast.parse(path.read_text())):
        # The package of the server has the name of the role.
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value in names - _other_meanings(path)
        ):
            yield f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}"


def test_only_the_table_spells_a_role() -> None:
    files = sorted(path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))
    found = {path: [*_literals(path)] for path in files}
    table = found.pop(ROOT / "consumers" / "roles.py")
    assert len(table) == len(roles.TABLE), "one constant each; the check sees literals"
    assert [each for literals in found.values() for each in literals] == []
