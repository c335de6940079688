"""docker-compose.yml under a name and on ports of its own, for the tests that run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from millstream.embedded_kafka.server_properties import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
_IMAGES = ("python:3.11-slim", "apache/kafka:4.3.1")


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def _ports() -> dict[str, str]:
    """Return every port of the compose file. Docker chooses those of metrics, others at each start of a container."""
    named = set(re.findall(r"\$\{(\w+_PORT):-\d+\}", (ROOT / "docker-compose.yml").read_text()))
    return {name: "0" if "METRICS" in name else str(free_port()) for name in named}


@dataclass
class Project:
    """One run of the compose file."""

    profiles: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: f"millstream-test-{uuid.uuid4().hex[:8]}")
    environment: dict[str, str] = field(default_factory=lambda: {**os.environ, **_ports()})

    def compose(self, *arguments: str) -> str:
        """Run ``docker compose`` and return what it printed."""
        profiles = [word for profile in self.profiles for word in ("--profile", profile)]
        done = subprocess.run(
            ["docker", "compose", "--project-name", self.name, *profiles, *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self, *options: str, with_demo: bool = True) -> None:
        self.compose("up", "--detach", "--scale", f"demo={int(with_demo)}", *options)

    def millstream(self, *arguments: str) -> Any:
        """Run a command in the first predictor's container and return the JSON it printed."""
        return json.loads(self.compose("exec", "-T", "predictor-0", "millstream", *arguments, "--json"))

    def inspect(self, service: str, template: str) -> str:
        container = self.compose("ps", "--all", "--quiet", service).strip()
        return docker("inspect", "--format", template, container).stdout.strip()

    def is_healthy(self, service: str) -> bool:
        return self.inspect(service, "{{.State.Health.Status}}") == "healthy"

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.compose("logs")
            time.sleep(0.2)

    def kill(self, service: str) -> None:
        """End a role as a crash would. After ``docker kill``, Docker would not start it again."""
        before = int(self.inspect(service, "{{.RestartCount}}"))
        # All processes but the first, which is the container's init and ends with them.
        self.compose("exec", "-T", service, "sh", "-c", "kill -KILL -1 || true")
        self.until(lambda: self.inspect(service, "{{.RestartCount}}") == str(before + 1), 30)


def require_compose() -> None:
    """Skip the test where there is no docker compose."""
    if shutil.which("docker") is None or docker("compose", "version").returncode != 0:
        pytest.skip("no docker compose here")


@contextmanager
def running(*profiles: str, with_demo: bool = True) -> Iterator[Project]:
    """Build the image, start all services of some profiles, and remove everything in the end; or skip the test."""
    if os.environ.get("MILLSTREAM_TEST_COMPOSE") != "1":
        pytest.skip("takes minutes; MILLSTREAM_TEST_COMPOSE=1 runs it")
    require_compose()
    if docker("version").returncode != 0:
        pytest.skip("no Docker answers here")
    missing = [image for image in _IMAGES if docker("image", "inspect", image).returncode != 0]
    if missing:
        pytest.skip(f"no image {missing[0]} here: docker pull {missing[0]}")
    project = Project(profiles)
    try:
        project.up("--build", with_demo=with_demo)
        yield project
    finally:
        project.compose("down", "--volumes", "--timeout", "15")
