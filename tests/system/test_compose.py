"""docker-compose.yml: what it says, and the demo through containers for real, with three roles killed on the way.

The demo takes minutes where the image is still to be built, so it runs only with ``MILLSTREAM_TEST_COMPOSE=1``.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from system.compose_project import Project, require_compose, running

_ROLES = ("predictor-0", "predictor-1", "joiner", "learner", "monitor")
_EXTRAS = ("obstore", "skops", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_DEMO_SECONDS = 180
_EVENTS = 1250


@pytest.fixture(scope="module")
def compose_file() -> dict[str, Any]:
    require_compose()
    project = Project(
        ("http", "console"), environment={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    )
    found: dict[str, Any] = json.loads(project.compose("config", "--format", "json"))
    return found


@pytest.fixture(scope="module")
def demo() -> Iterator[Project]:
    """Lend the project while its demo runs."""
    with running() as project:
        yield project


def test_no_port_is_open_beyond_this_machine(compose_file: dict[str, Any]) -> None:
    ports = [port for service in compose_file["services"].values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    published = [int(compose_file["services"][role]["ports"][0]["published"]) for role in _ROLES]
    assert published == [9464, 9465, 9466, 9467, 9468], "where prometheus.yml and `millstream run` have them"


def test_only_the_learner_has_the_key_and_only_it_and_the_console_write_to_the_store(
    compose_file: dict[str, Any],
) -> None:
    mounts = {
        name: {mount["source"]: not mount.get("read_only", False) for mount in service.get("volumes", [])}
        for name, service in compose_file["services"].items()
    }
    assert [name for name, held in mounts.items() if "keys" in held] == ["learner"]
    marks = [name for name, held in mounts.items() if held.get("models")]
    assert marks == ["console", "learner", "monitor"], "a pin is a mark"
    assert [name for name, held in mounts.items() if held.get("trusted")] == ["learner"]
    assert [name for name, held in mounts.items() if held.get("tokens")] == ["token"]
    assert {name for name, held in mounts.items() if "spool" in held} == {"server", "forwarder", "importer"}


def test_every_role_starts_again_by_itself_and_has_a_name_of_its_own(compose_file: dict[str, Any]) -> None:
    roles = {name: compose_file["services"][name] for name in _ROLES}
    assert {role["restart"] for role in roles.values()} == {"on-failure"}
    names = ["predictor-0", "predictor-1", "joiner-0", "learner-0", "monitor-0"]
    assert [role["hostname"] for role in roles.values()] == names


def test_every_role_has_a_health_check_at_its_metrics_port_and_the_demo_waits_for_it(
    compose_file: dict[str, Any],
) -> None:
    for role in _ROLES[:-1]:  # nobody waits for the monitor
        assert compose_file["services"]["demo"]["depends_on"][role]["condition"] == "service_healthy"
    for role in (*_ROLES, "console", "server", "forwarder", "importer"):
        service = compose_file["services"][role]
        port = service["ports"][-1]["target"]
        assert service["environment"]["MILLSTREAM_METRICS_PORT"] == str(port)
        assert f'"127.0.0.1", {port}' in service["healthcheck"]["test"][-1]


def test_roles_are_healthy_with_metrics_and_are_so_again_after_a_kill(demo: Project) -> None:
    """The first of those that run the demo: it waits for all roles to be healthy."""
    for role in _ROLES:
        demo.until(lambda role=role: demo.is_healthy(role), 60)
        address = demo.compose("port", role, "9464").strip()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
            assert f'role="{role.partition("-")[0]}"' in page.read().decode()
    demo.kill("predictor-1")
    demo.until(lambda: demo.is_healthy("predictor-1"), 120)


def test_the_image_has_the_extras_for_object_stores_skops_and_traces(demo: Project) -> None:
    imports = "; ".join(f"import {name}" for name in _EXTRAS)
    demo.compose("exec", "-T", "learner", "python", "-c", imports)


def test_the_demo_comes_to_its_end_with_every_event_learned_once(demo: Project) -> None:
    demo.until(lambda: _done(demo, "learner") > 100, _DEMO_SECONDS)
    for role in ("learner", "joiner"):
        demo.kill(role)

    demo.until(lambda: demo.inspect("demo", "{{.State.Status}}") == "exited", _DEMO_SECONDS)
    assert demo.inspect("demo", "{{.State.ExitCode}}") == "0", demo.compose("logs", "demo")
    found = demo.millstream("status")
    loop = ("predictor", "joiner", "learner")
    assert {role: found["stages"][role]["done"] for role in loop} == dict.fromkeys(loop, _EVENTS)
    assert {state: count for state, count in found["labels"].items() if count} == {"joined": _EVENTS}
    assert found["model"]["served"] == f"1/{_EVENTS}"
    assert found["dead_letters"] == 0
    newest = demo.millstream("models", "list")[-1]
    assert (newest["version"], newest["serving"]) == (f"1/{_EVENTS}", True)


def test_roles_run_without_root_and_what_was_built_with_is_gone(demo: Project) -> None:
    for role in _ROLES:
        assert demo.compose("exec", "-T", role, "id", "-u").strip() == "10001"
    demo.compose("exec", "-T", "learner", "python", "-c", "import os; assert os.environ['PYTHONHASHSEED'] == '0'")
    absent = "import importlib.util as u; print([n for n in ('pip', 'setuptools', 'wheel') if u.find_spec(n)])"
    assert demo.compose("exec", "-T", "learner", "python", "-c", absent).strip() == "[]"
    assert demo.compose("exec", "-T", "predictor-0", "ls", "/var/lib/millstream/keys").split() == ["trusted"]


def test_roles_end_in_order_when_told_to(demo: Project) -> None:
    began = time.monotonic()
    demo.compose("stop", *_ROLES)
    assert time.monotonic() - began < 15
    assert {role: demo.inspect(role, "{{.State.ExitCode}}") for role in _ROLES} == dict.fromkeys(_ROLES, "0")


def _done(project: Project, role: str) -> int:
    done: int = project.millstream("status")["stages"][role]["done"]
    return done
