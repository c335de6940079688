"""What a training gets from the trainer's environment: its settings, and no secret that it does not need."""

from __future__ import annotations

import os
from pathlib import Path

from consumers.trainer.training_messages import TRAINER_PID
from millstream.config.settings import Settings
from millstream.processes.trainer_role import batch_rules, child_command
from millstream.stream.load import load_stream

STREAM = """
from river import linear_model
from sklearn.linear_model import LogisticRegression
from millstream import BatchModel, Stream, Webhook

stream = Stream(name="s", task="binary", model=linear_model.LogisticRegression,
    batch={"gbdt": BatchModel(LogisticRegression, every="7d", at="02:30", retrain_on=["monitor.drift"],
        not_more_than="2h", longest="1h", deploy="if-better", warm_start=True)},
    notify=[Webhook("ops", url="https://example.com/hook", secret_env="OPS_HOOK")])
"""


def test_secrets_stay_and_settings_go_with_it(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(STREAM)
    loaded = load_stream(str(tmp_path / "s.py"))
    settings = Settings(tmp_path, "kafka:9092", "a-", {"sasl_plain_password": "of Kafka"}, registry={"password": "p"})
    environ = {
        "PATH": "/bin",
        "DATA_FOLDER": "/data",
        "OPS_HOOK": "whsec_x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "GITHUB_TOKEN": "x",
        "DB_PASSWORD": "x",
        "db_password": "x",
        "MYSQL_PWD": "x",
        "SENTRY_DSN": "x",
        "DATABASE_URL": "postgres://ann:x@db/prices",
    }
    command = child_command(loaded, settings, environ)
    assert command.command[-2:] == ("-m", "millstream.training.child")
    kept = dict(command.environment)
    assert kept.pop(TRAINER_PID) == str(os.getpid())
    assert kept == {
        "PATH": "/bin",
        "DATA_FOLDER": "/data",
        "MILLSTREAM_HOME": str(tmp_path),
        "MILLSTREAM_PREFIX": "a-",
        "MILLSTREAM_STORE": str(tmp_path / "models"),
        "MILLSTREAM_CLIENT": settings.client,
        "MILLSTREAM_BOOTSTRAP": "kafka:9092",
        "MILLSTREAM_KAFKA_SASL_PLAIN_PASSWORD": "of Kafka",
    }
    with_store = child_command(loaded, settings, environ, reads_store=True).environment
    assert {*with_store} - {*kept} == {TRAINER_PID, "AWS_SECRET_ACCESS_KEY"}


def test_the_rules_of_a_model_are_those_of_the_stream_file(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(STREAM)
    rules = batch_rules("gbdt", load_stream(str(tmp_path / "s.py")).stream.batch["gbdt"])
    hour = 3_600_000
    assert (rules.every_ms, rules.at_ms, rules.not_more_than_ms, rules.longest_ms) == (
        7 * 24 * hour,
        2.5 * hour,
        2 * hour,
        hour,
    )
    assert (rules.retrain_on, rules.deploy, rules.warm_start) == ({"monitor.drift"}, "if-better", True)
