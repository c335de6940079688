"""What tests share: of commands the names, an environment that leads to the session's Kafka, and the command line; of
the loop a cluster that has made its own topics, and two more.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from broker.commands import Run
from loop_helpers import make_topics, warmed

from millstream.cli import app as cli
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names


@pytest.fixture(scope="module", autouse=True)
def _client(client: str) -> str:
    return client


@pytest.fixture
def names(prefix: str) -> Names:
    return Names("phishing", prefix)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return the home folder of commands; a module whose tests share one has its own."""
    return tmp_path


@pytest.fixture
def environment(bootstrap: str, prefix: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name, value in (("HOME", str(home)), ("BOOTSTRAP", bootstrap), ("PREFIX", prefix)):
        monkeypatch.setenv(f"MILLSTREAM_{name}", value)
    return dict(os.environ)


@pytest.fixture
def run(environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; returns exit code, what its JSON says, and its errors."""

    def call(*words: str) -> tuple[int, Any, str]:
        code = cli.run((*words, "--json"))
        said = capsys.readouterr()
        # Roles that run in this process may have said something meanwhile, or before.
        answers = [line for line in said.out.splitlines() if line[:1] in ("{", "[")]
        return code, json.loads(answers[-1]) if answers else None, said.err

    return call


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    """Return the session's Kafka, of which the first to take part in a group need not wait."""
    return warmed(bootstrap)


@pytest.fixture
def topics(cluster: Cluster, prefix: str) -> str:
    """Make ``in`` and ``out``, one partition each; return what comes before their names."""
    make_topics(cluster, prefix)
    return prefix
