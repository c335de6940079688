"""A stream that another River has learned, taken over by this one: refused, replayed, compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import river
from system.oracle import Stream, predictions

_OLD_RIVER = "0.25.0"  # the newest of the minor version before the one that is pinned
_SECONDS = 180
_LEARNED, _MORE = 300, 60
# What it was then ran on the River of its time; the code of today runs on that River but for these names.
_AS_THE_CODE_OF_TODAY_NAMES_THEM = """
from river import base
from river.anomaly import base as anomaly
for name in ("AnomalyDetector", "AnomalyFilter", "SupervisedAnomalyDetector"):
    setattr(base, name, getattr(anomaly, name, None) or type(name, (), {}))
"""
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def old_river(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the older River into a folder of its own, and return the folder."""
    if not request.config.getoption("--faults"):
        pytest.skip("installs a second River: make faults does")
    folder = tmp_path_factory.mktemp("old-river")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--only-binary", ":all:", "--target", str(folder), f"river=={_OLD_RIVER}"],
        capture_output=True, text=True, timeout=_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"pip cannot install river {_OLD_RIVER} here: {done.stderr.strip().splitlines()[-1:]}")
    (folder / "sitecustomize.py").write_text(_AS_THE_CODE_OF_TODAY_NAMES_THEM)
    return folder


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    return Stream("phishing", bootstrap, prefix, tmp_path / "home")


@pytest.fixture
def old(stream: Stream, old_river: Path) -> Command:
    """Run a command with the older River; what else it needs is found where this process finds it."""
    return command(stream, [str(old_river)])


@pytest.fixture
def new(stream: Stream) -> Command:
    return command(stream, [])


def command(stream: Stream, first: list[str]) -> Command:
    paths = [*first, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "millstream", *words],
            env=stream.environment() | {"PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True, text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


def told(run: Command, *words: str) -> Any:
    return json.loads(run(*words, "--json").stdout)


def test_a_stream_goes_on_under_another_river_by_replay_and_says_how_it_differs(
    old: Command, new: Command, stream: Stream
) -> None:
    old("topics", "create", "phishing")
    old("publish", "phishing", "river:Phishing", "--limit", str(_LEARNED))
    old("run", "phishing", "--until-idle", "2s")
    before = told(old, "models", "show", "phishing")
    assert (before["examples"], before["libraries"]["river"]) == (_LEARNED, _OLD_RIVER)
    refused = new("learner", "phishing", code=1).stderr
    assert refused.count("\n") == 1
    assert f"river {_OLD_RIVER} (here {river.__version__})" in refused
    assert "`millstream learner STREAM --new-epoch replay`" in refused
    new("publish", "phishing", "river:Phishing", "--limit", str(_LEARNED + _MORE))
    said = new("run", "phishing", "--new-epoch", "replay", "--until-idle", "2s").stdout
    assert f"(river {_OLD_RIVER} → {river.__version__})" in said
    assert_compared(told(new, "models", "show", "phishing"), before)
    table = [line.removeprefix("learner-0   | ") for line in said.splitlines() if line.startswith("learner-0")]
    print("\n".join(table))
    assert any(line.startswith("  progressive, all") for line in table)
    assert "nothing serves yet: version" in said or "is refused" in said
    assert told(new, "models", "verify", "phishing")["holds"]
    assert predictions(stream)[-1].outcome.epoch == 2


def assert_compared(now: dict[str, Any], before: dict[str, Any]) -> None:
    assert (now["epoch"], now["parent"], now["examples"]) == (2, before["version"], _LEARNED + _MORE)
    found = now["extra"]["upgrade"]
    assert found["libraries"] == {"river": [_OLD_RIVER, river.__version__]}
    assert found["examples"] == [_LEARNED, _LEARNED]
    for name, (then, value) in found["progressive"].items():
        assert then == before["metrics"]["progressive"]["all"][name]
        assert value == pytest.approx(then, abs=0.05)
    assert 0 < found["newest"]["answers"] <= _LEARNED
    assert 0 < found["newest"]["same"] <= found["newest"]["answers"]
    assert 0 <= found["newest"]["apart_mean"] <= found["newest"]["apart_most"] <= 1
