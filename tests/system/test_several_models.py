"""Several models of one stream, as a person runs them: each learns the log, one serves, and what serves is chosen."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import command_server
import pytest
from river import datasets
from system.commands import millstream, publish, running, told, traced, until_served
from system.oracle import Stream, predictions

from model_store import open_store

ROWS = list(datasets.Phishing())
FIRST, ALL = 200, 300
FILE = """
from river import linear_model, preprocessing, tree
from millstream import Model, Stream

stream = Stream(
    name="several",
    task="binary",
    label="is_phishing",
    model=lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(),
    models={
        "tree": Model(lambda: tree.HoeffdingTreeClassifier()),
        "few": Model(lambda: linear_model.LogisticRegression(), sees=["https", "age_of_domain"]),
    },
)
"""


@pytest.fixture
def stream(bootstrap: str, prefix: str, tmp_path: Path) -> Stream:
    file = tmp_path / "several.py"
    file.write_text(FILE)
    return Stream(str(file), bootstrap, prefix, tmp_path / "home")


def until_all_learned(stream: Stream, count: int) -> None:
    """Wait until the newest version of each model has learned so many."""
    store = open_store(stream.models, stream.home / "keys", sign=False)
    deadline = time.monotonic() + 120
    while (found := [store.versions(model)[-1].examples for model in store.models("several")]) != [count] * 3:
        assert time.monotonic() < deadline, f"{count} examples are to be learned by each, not {found}"
        time.sleep(0.1)


def kill_learner(stream: Stream, name: str) -> None:
    """Kill the learner of a model, whose process its lock names."""
    [lock] = stream.home.glob(f"state/*/learner.{name}-*.lock")
    os.kill(int(lock.read_text()), signal.SIGKILL)


def test_each_model_learns_the_log_and_what_serves_is_promoted_and_rolled_back(stream: Stream, tmp_path: Path) -> None:
    ref = stream.ref
    with running(stream, tmp_path / "run.log"):
        publish(stream, ROWS[0:FIRST], tmp_path / "from-0.csv", rate=200)
        until_all_learned(stream, FIRST)
        until_served(stream, f"1/{FIRST}")
        models = {each["name"]: each for each in told(stream, "status", ref)["models"]}
        assert [models[name]["newest"] for name in ("main", "tree", "few")] == ["1/200", "tree:1/200", "few:1/200"]
        assert [name for name, each in models.items() if each["serves"]] == ["main"]
        assert models["few"]["metrics"] != models["tree"]["metrics"]

        millstream(stream, "models", "promote", ref, "tree", "--why", "try it")
        until_served(stream, f"tree:1/{FIRST}")
        millstream(stream, "pause", ref, "--model", "few", "--why", "quiet")
        kill_learner(stream, "tree")
        publish(stream, ROWS[FIRST:ALL], tmp_path / "from-first.csv", rate=200)
        until_served(stream, f"tree:1/{ALL}")
        answers = {each.event.event_id: each for each in predictions(stream)}
        assert len(answers) == ALL
        models = {each["name"]: each for each in told(stream, "status", ref)["models"]}
        assert (models["few"]["paused"], models["few"]["newest"]) == (True, f"few:1/{FIRST}")
        millstream(stream, "resume", ref, "--model", "few")
        until_all_learned(stream, ALL)

        last = max(answers.values(), key=lambda each: each.outcome.predicted_at)
        assert last.outcome.model == "several.tree"
        code, found = traced(stream, last.event.event_id)
        assert (code, found["again"]["equal"]) == (0, True)
        assert [name for name, fate in found["models"].items() if fate["learned"]] == ["few", "tree"]
        for version in ("1/300", "tree:1/300", "few:1/300"):
            assert told(stream, "models", "verify", ref, version)["holds"]

        millstream(stream, "models", "promote", ref, "tree")  # serves already, so it hides nothing from a rollback
        millstream(stream, "models", "rollback", ref, "--why", "no")
        until_served(stream, f"1/{ALL}")
        history = told(stream, "models", "history", ref)
        assert [each["decision"] for each in history] == [
            "serve tree", "pause learning of few", "resume learning of few", "serve tree", "serve main",
        ]  # fmt: skip
        served = told(stream, "models", "history", ref, "--at", str(history[1]["at"]))
        assert served["decision"]["decision"] == "serve tree"
        millstream(stream, "models", "pin", ref, f"few:1/{FIRST}")
        until_served(stream, f"few:1/{FIRST}")
        millstream(stream, "models", "unpin", ref)
        until_served(stream, f"few:1/{ALL}")
        assert told(stream, "models", "show", ref)["version"] == f"few:1/{ALL}"
        assert told(stream, "models", "show", "several", "tree")["version"] == f"tree:1/{ALL}"
        assert told(stream, "models", "verify", ref)["version"] == f"few:1/{ALL}"

    assert "has no model 'oak'; its models are main, tree, few" in millstream(
        stream, "models", "promote", ref, "oak", code=2
    )
    assert_a_lost_model_is_said(stream)


def assert_a_lost_model_is_said(stream: Stream) -> None:
    file = Path(stream.ref)
    file.write_text(FILE.replace('"few":', '"other":'))
    said = "few serves by a decision, and several.py has no models={'few': …}"
    assert said in millstream(stream, "run", stream.ref, code=1)
    assert said in check(stream, 1)
    file.write_text(FILE)
    assert said not in check(stream, 0)
    millstream(stream, "models", "promote", "several", "main")
    millstream(stream, "topics", "delete", "several", "--versions", "--yes")
    assert not [path for path in stream.models.glob("several*") if path.is_dir()]


def check(stream: Stream, code: int) -> str:
    done = command_server.run("check", stream.ref, env=stream.environment())
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout
