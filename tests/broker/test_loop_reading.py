"""The loop as a reader: where it begins, what it commits, and that it neither jumps nor stands still."""

from __future__ import annotations

import pytest
from kafka.structs import TopicPartition
from loop_helpers import (
    Copier,
    ends,
    expected,
    is_exact,
    make_topics,
    numbered,
    places,
    put,
    read,
    running,
    settings,
    until,
)

from consumers.failures import Doubt, Refused
from schemas.cluster import Cluster


@pytest.fixture
def cluster(bootstrap: str) -> Cluster:
    return Cluster(bootstrap)


def test_k11_a_new_group_begins_at_the_beginning(cluster: Cluster, prefix: str) -> None:
    make_topics(cluster, prefix, 2)
    put(cluster, prefix + "in", numbered(0, 100), 2)
    with running(cluster, settings(prefix), Copier(prefix)) as run:
        until(lambda: sum(run.processor.counts.values()) == 100, "100 records")
        run.stop()
    assert is_exact(cluster, prefix)
