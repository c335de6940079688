"""Decisions about a stream's model, written to the topics that predictors and the learner follow."""

from __future__ import annotations

import getpass
import time
from contextlib import closing
from typing import Final

from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.errors import KafkaError, described
from schemas.model_updates import Decision, ModelUpdate
from schemas.topics import Names

_ACKNOWLEDGED_S: Final = 15.0


class NotDecided(Exception):  # noqa: N818
    """A decision did not reach the cluster, or only half of it; repeating it is harmless."""


def decide(cluster: Cluster, names: Names, state: Decision) -> ModelUpdate:
    """Write a decision to the models topic (the state in force) and to the decisions topic (the history).

    The decisions topic comes first, so the state in force is always part of the history.

    Raises
    ------
    NotDecided
        If the cluster has not acknowledged both.
    """
    update = ModelUpdate(time.time_ns() // 1_000_000, state)
    key, value = state.key.encode(), update.encode()
    missing = {names.topic("decisions"), names.topic("models")} - set(
        cluster.topic_info(names.topic("decisions"), names.topic("models"))
    )
    if missing:
        raise NotDecided(f"there is no topic {min(missing)}: `millstream topics create STREAM` makes it")
    limits = {"request_timeout_ms": 5_000, "delivery_timeout_ms": int(_ACKNOWLEDGED_S * 1000)}
    with closing(cluster.producer(acks="all", **limits)) as producer:
        for kind in ("decisions", "models"):
            try:
                producer.send(names.topic(kind), key=key, value=value, partition=0).get(_ACKNOWLEDGED_S)
            except KafkaError as error:
                raise NotDecided(
                    f"{names.topic(kind)} did not accept the decision ({described(error)}): run the command again"
                ) from error
    return update


def who() -> str:
    """Return the name of the deciding user for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
