"""All streams in `millstream status`, and a stream known by its name alone, on a real Kafka."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from broker.commands import Run
from unit.user_files import forgetful, write
from whole_loop import WholeLoop, whole_loop

from millstream.cli import app as cli
from millstream.config.settings import Settings
from millstream.stream.load import load_stream
from millstream.stream.processor_rules import definition_of
from millstream.topics import admin
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

__all__ = ["forgetful"]

# It learns, and says the contrary: worse than any baseline.
CONTRARY = """
from river import linear_model
from millstream import Evaluation, Stream


class Contrary(linear_model.LogisticRegression):
    def predict_proba_one(self, x):
        shares = super().predict_proba_one(x)
        return {True: shares[False], False: shares[True]}

    def predict_one(self, x):
        return self.predict_proba_one(x)[True] > 0.5


stream = Stream(
    name="contrary", task="binary", label="label", model=lambda: Contrary(), evaluation=Evaluation(window=100)
)
"""


def send(loop: WholeLoop, count: int) -> None:
    rng = random.Random(3)
    for number in range(count):
        label = rng.random() > 0.5
        loop.event(f"e{number}", {"a": rng.gauss(2.0 if label else -2.0, 1.0)})
        loop.label(f"e{number}", label)
        if number % 50 == 49:
            seen = number + 1
            loop.wait_until(lambda seen=seen: len(loop.examples()) >= seen, "they are joined")


def test_a_model_that_loses_to_a_baseline_is_seen_everywhere_and_its_name_is_enough(
    bootstrap: str, prefix: str, tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, CONTRARY, "contrary_user.py")
    loaded = load_stream(path)
    admin.create(Cluster(bootstrap), Names("idle", prefix), partitions=1, label_wait_ms=60_000)
    code, found, _ = run("status", "idle")
    assert (code, found["model"]["quality"]) == (0, None)
    definition, models = definition_of(loaded), Settings(home=tmp_path, bootstrap=bootstrap, prefix=prefix).models
    with whole_loop(loaded.stream, bootstrap, prefix, tmp_path, definition=definition, models=models) as loop:
        send(loop, 400)
        loop.wait_until(lambda: loop.learned() == 400, "all are learned")
        loop.wait_until(
            lambda: ((run("status", "contrary")[1]["model"]["quality"]) or {"worse": None})["worse"], "it is seen"
        )
        code, found, _ = run("status")
        assert_rollback_says_whether_it_learns(run, capsys)
    assert code == 0
    assert [each["stream"] for each in found["streams"]] == ["contrary", "idle"]
    contrary, idle = found["streams"]
    quality = contrary["model"]["quality"]
    assert [each["metric"] for each in quality["metrics"]] == ["ROCAUC", "LogLoss", "F1", "Accuracy"]
    assert (quality["labels"], quality["window"], quality["worse"]) == (100, 100, True)
    assert set(quality["metrics"][0]["baselines"]) == {"last_label", "frequencies"}
    assert contrary["state"] == "at work"
    assert any(need.startswith("learner.worse-than-baseline: served ROCAUC ") for need in contrary["needs"])
    assert (idle["state"], idle["needs"]) == ("stopped", ["no role is running"])
    code, alerts, _ = run("alerts", "contrary")
    assert (alerts["name"], alerts["state"], alerts["severity"]) == ("learner.worse-than-baseline", "raised", "warning")
    known_by_name(run, tmp_path, path)


def assert_rollback_says_whether_it_learns(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(("models", "rollback", "contrary", "1/0")) == 0
    assert "until `millstream models unpin contrary`; learning goes on" in capsys.readouterr().out
    assert run("pause", "contrary")[0] == 0
    assert cli.run(("models", "pin", "contrary", "1/0")) == 0
    said = capsys.readouterr().out
    assert "learning stays paused until `millstream resume contrary`" in said
    assert "learning goes on" not in said
    assert run("resume", "contrary")[0] == run("models", "unpin", "contrary")[0] == 0


def known_by_name(run: Run, tmp_path: Path, path: str) -> None:
    """Use commands with the name, from a folder where no such file is, and with the file."""
    rows = tmp_path / "rows.csv"
    rows.write_text("a,label\n1.5,true\n-1.0,false\n")
    for given in ("contrary", path):
        assert run("publish", given, str(rows))[1]["sent"] == 2
        assert run("models", "verify", given)[1]["holds"] is True
        assert run("topics", "describe", given)[0] == 0
        code, found, _ = run("trace", given, "e7")
        assert (code, found["again"]["equal"]) == (0, True)
        assert run("label", given, "e7", "true")[1]["value"] is True
        assert run("models", "adopt", given, "1/400")[0] == 1, "it was not rebuilt; but the stream was found"
    code, _, errors = run("trace", "contrary", "e7", "--code", "own")
    assert (code, "name the file of contrary" in errors) == (2, True)
    for words in (("check", "contrary"), ("restore", "contrary", str(tmp_path))):
        code, _, errors = run(*words)
        assert code == 1
        assert f"`millstream {words[0]}` needs the file" in errors
    code, _, errors = run("publish", "unknown", str(rows))
    assert code == 1
    assert "there is no stream 'unknown'" in errors
    assert "no version in the model store carries the code" in errors


@pytest.mark.parametrize("command", ["run", "learner"])
def test_what_runs_the_file_says_that_a_name_is_not_enough(
    command: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLSTREAM_LOG_FORMAT", "text")
    assert cli.run((command, "contrary")) == 1
    assert f"`millstream {command}` needs the file" in capsys.readouterr().err


def test_a_prefix_without_streams_and_watching_all(run: Run, prefix: str) -> None:
    code, found, _ = run("status")
    assert (code, found["prefix"], found["streams"]) == (0, prefix, [])
    code, _, errors = run("status", "--watch")
    assert code == 2
    assert "--watch shows one stream" in errors
