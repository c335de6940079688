"""A learner makes the same model of one log, whichever Kafka client reads it."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from log_roles import LogRoles
from loop_helpers import warmed
from raw_kafka import raw_admin

from model_store import Manifest, open_store
from runtime.kafka_client.libraries import library_named
from runtime.kafka_client.library_names import KAFKA_PYTHON, LIBRDKAFKA
from schemas.topics import Names

pytestmark = pytest.mark.any_client
EXAMPLES = 300


def learned_with(roles: LogRoles, name: str) -> Manifest:
    """Learn the log from its beginning, into an own store; return the newest version."""
    cluster = replace(roles.cluster, library=library_named(name))
    learner = LogRoles(cluster, roles.names, roles.home / name)
    learner.work_off("learner")
    store = open_store(learner.home / "models", learner.home / "keys", sign=False)
    newest = store.manifest(store.versions("logs")[-1])
    assert newest.examples == EXAMPLES
    # The next one is to know nothing of this one.
    with raw_admin(roles.cluster) as client:
        group = roles.names.group("learner")
        deadline = time.monotonic() + 30
        while client.describe_groups([group])[group]["members"]:
            assert time.monotonic() < deadline, "the learner does not leave its group"
        client.delete_groups([group])
    roles.recreate("models")
    return newest


def test_chain_and_fingerprint_are_those_of_the_log_with_either_client(
    bootstrap: str, prefix: str, tmp_path: Path
) -> None:
    roles = LogRoles(warmed(bootstrap), Names("logs", prefix), tmp_path)
    roles.create()
    roles.feed("learner", 0, EXAMPLES)
    one, two, again = (learned_with(roles, name) for name in (KAFKA_PYTHON, LIBRDKAFKA, KAFKA_PYTHON))
    assert one.chain == two.chain == again.chain
    assert one.fingerprint == two.fingerprint == again.fingerprint
    assert one.metrics == two.metrics == again.metrics
    assert one.offset == two.offset == again.offset
