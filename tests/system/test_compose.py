"""docker-compose.yml for real: the demo through containers, with two roles killed on the way.

The demo takes minutes where the image is still to be built, so it runs only with ``MILLSTREAM_TEST_COMPOSE=1``.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from millstream.embedded_kafka.server_properties import free_port

_ROOT = Path(__file__).resolve().parent.parent.parent
_IMAGES = ("python:3.11-slim", "apache/kafka:4.3.1")
_ROLES = ("predictor-0", "predictor-1", "joiner", "learner")
_METRICS_PORTS = ("PREDICTOR_0_METRICS_PORT", "PREDICTOR_1_METRICS_PORT", "JOINER_METRICS_PORT", "LEARNER_METRICS_PORT")
_EXTRAS = ("obstore", "skops", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_DEMO_SECONDS = 180
_EVENTS = 1250


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


@dataclass
class Project:
    """One run of the compose file, under a name and a port of its own."""

    name: str = field(default_factory=lambda: f"millstream-test-{uuid.uuid4().hex[:8]}")
    environment: dict[str, str] = field(
        default_factory=lambda: {**os.environ, "KAFKA_PORT": str(free_port()), **dict.fromkeys(_METRICS_PORTS, "0")}
    )

    def compose(self, *arguments: str) -> str:
        """Run ``docker compose`` and return what it printed."""
        done = subprocess.run(
            ["docker", "compose", "--project-name", self.name, *arguments],
            cwd=_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def millstream(self, *arguments: str) -> Any:
        """Run a command in the first predictor's container and return the JSON it printed."""
        return json.loads(self.compose("exec", "-T", "predictor-0", "millstream", *arguments, "--json"))

    def inspect(self, service: str, template: str) -> str:
        container = self.compose("ps", "--all", "--quiet", service).strip()
        return docker("inspect", "--format", template, container).stdout.strip()


@pytest.fixture(scope="module")
def compose_file() -> dict[str, Any]:
    if shutil.which("docker") is None or docker("compose", "version").returncode != 0:
        pytest.skip("no docker compose here")
    project = Project(environment={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ})
    found: dict[str, Any] = json.loads(project.compose("config", "--format", "json"))
    return found


@pytest.fixture(scope="module")
def demo() -> Iterator[Project]:
    """Lend the project while its demo runs."""
    if os.environ.get("MILLSTREAM_TEST_COMPOSE") != "1":
        pytest.skip("takes minutes; MILLSTREAM_TEST_COMPOSE=1 runs it")
    if shutil.which("docker") is None or docker("version").returncode != 0:
        pytest.skip("no Docker answers here")
    missing = [image for image in _IMAGES if docker("image", "inspect", image).returncode != 0]
    if missing:
        pytest.skip(f"no image {missing[0]} here: docker pull {missing[0]}")
    project = Project()
    try:
        project.compose("up", "--build", "--detach")
        yield project
    finally:
        project.compose("down", "--volumes", "--timeout", "15")


def until(condition: Callable[[], bool], seconds: float, project: Project) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, project.compose("logs")
        time.sleep(0.2)


def test_no_port_is_open_beyond_this_machine(compose_file: dict[str, Any]) -> None:
    ports = [port for service in compose_file["services"].values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    published = [int(compose_file["services"][role]["ports"][0]["published"]) for role in _ROLES]
    assert published == [9464, 9465, 9466, 9467], "where prometheus.yml and `millstream run` have them"


def test_only_the_learner_holds_the_key_and_writes_versions(compose_file: dict[str, Any]) -> None:
    mounts = {
        name: {mount["source"]: not mount.get("read_only", False) for mount in service.get("volumes", [])}
        for name, service in compose_file["services"].items()
    }
    assert [name for name, held in mounts.items() if "keys" in held] == ["learner"]
    assert [name for name, held in mounts.items() if held.get("models")] == ["learner"]
    assert [name for name, held in mounts.items() if held.get("trusted")] == ["learner"]


def test_every_role_starts_again_by_itself_and_has_a_name_of_its_own(compose_file: dict[str, Any]) -> None:
    roles = {name: compose_file["services"][name] for name in _ROLES}
    assert {role["restart"] for role in roles.values()} == {"on-failure"}
    assert [role["hostname"] for role in roles.values()] == ["predictor-0", "predictor-1", "joiner-0", "learner-0"]


def test_every_role_has_a_health_check_at_its_metrics_port_and_the_demo_waits_for_it(
    compose_file: dict[str, Any],
) -> None:
    for role in _ROLES:
        service = compose_file["services"][role]
        assert service["environment"]["MILLSTREAM_METRICS_PORT"] == str(service["ports"][0]["target"])
        assert f'"127.0.0.1", {service["ports"][0]["target"]}' in service["healthcheck"]["test"][-1]
        assert compose_file["services"]["demo"]["depends_on"][role]["condition"] == "service_healthy"


def test_roles_are_healthy_with_metrics_and_are_so_again_after_a_kill(demo: Project) -> None:
    """The first of those that run the demo: it waits for all roles to be healthy."""
    for role in _ROLES:
        until(lambda role=role: demo.inspect(role, "{{.State.Health.Status}}") == "healthy", 60, demo)
        address = demo.compose("port", role, "9464").strip()
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as page:
            assert f'role="{role.partition("-")[0]}"' in page.read().decode()
    _kill(demo, "predictor-1")
    until(lambda: demo.inspect("predictor-1", "{{.State.Health.Status}}") == "healthy", 120, demo)


def test_the_image_has_the_extras_for_object_stores_skops_and_traces(demo: Project) -> None:
    imports = "; ".join(f"import {name}" for name in _EXTRAS)
    demo.compose("exec", "-T", "learner", "python", "-c", imports)


def test_the_demo_comes_to_its_end_with_every_event_learned_once(demo: Project) -> None:
    until(lambda: _done(demo, "learner") > 100, _DEMO_SECONDS, demo)
    for role in ("learner", "joiner"):
        _kill(demo, role)

    until(lambda: demo.inspect("demo", "{{.State.Status}}") == "exited", _DEMO_SECONDS, demo)
    assert demo.inspect("demo", "{{.State.ExitCode}}") == "0", demo.compose("logs", "demo")
    found = demo.millstream("status")
    assert {role: stage["done"] for role, stage in found["stages"].items()} == {
        "predictor": _EVENTS,
        "joiner": _EVENTS,
        "learner": _EVENTS,
    }
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


def _kill(project: Project, role: str) -> None:
    """End a role as a crash would. After ``docker kill``, Docker would not start it again."""
    # All processes but the first, which is the container's init and ends with them.
    project.compose("exec", "-T", role, "sh", "-c", "kill -KILL -1 || true")
    until(lambda: project.inspect(role, "{{.RestartCount}}") == "1", 30, project)


def _done(project: Project, role: str) -> int:
    done: int = project.millstream("status")["stages"][role]["done"]
    return done
