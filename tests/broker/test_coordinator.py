"""A new cluster has no coordinator of groups at the first request."""

from __future__ import annotations

import pytest
from kafka.errors import CoordinatorNotAvailableError
from proxy import Proxy

from millstream.reading.first_answers import AnswersFromNow
from runtime.kafka_client.cluster import Cluster
from schemas.topics import Names

pytestmark = pytest.mark.both_clients


def test_publish_waits_for_the_coordinator_of_the_predictors(bootstrap: str, prefix: str) -> None:
    with Proxy(bootstrap) as proxy:
        refused = proxy.fail("DescribeGroups", CoordinatorNotAvailableError.errno, times=2)
        answers = AnswersFromNow(Cluster(proxy.bootstrap), Names("waits", prefix)).to(["a"], seconds=1.0)
        assert refused.wait(2)
    assert answers.predictors == 0
