"""What comes to nothing while a broker is away is closed at once, and not whenever the garbage collector runs."""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from kafka import TopicPartition
from proxy import Proxy
from raw_kafka import raw_admin, raw_consumer

from runtime.kafka_client.cluster import Cluster
from runtime.kafka_client.socket_cleanup import ClosingSocket

ATTEMPTS = 20


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_attempts_that_are_refused_leave_no_file_open(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 0
    connect = ClosingSocket.connect_ex

    def counted(self: ClosingSocket, *given: Any) -> Any:
        nonlocal attempts
        attempts += 1
        return connect(self, *given)

    monkeypatch.setattr(ClosingSocket, "connect_ex", counted)
    with Proxy(bootstrap) as proxy:
        consumer = raw_consumer(
            Cluster(proxy.bootstrap), group_id=None, reconnect_backoff_ms=10, reconnect_backoff_max_ms=20
        )
        partition = TopicPartition("nothing-here", 0)
        consumer.assign([partition])
        consumer.seek(partition, 0)
        proxy.refuse()
        opened = psutil.Process().num_fds()
        enough, deadline = attempts + ATTEMPTS, time.monotonic() + 30
        while attempts < enough:
            assert time.monotonic() < deadline, f"only {attempts} attempts to connect"
            consumer.poll(timeout_ms=50)
        assert psutil.Process().num_fds() <= opened + 2  # the attempt under way
        consumer.close(autocommit=False)


def test_a_client_that_is_closed_while_a_request_waits_leaves_nothing_to_warn_of(bootstrap: str) -> None:
    """As on a crowded machine, where the thread that sends has not come to it."""
    opened = psutil.Process().num_fds()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with raw_admin(Cluster(bootstrap)) as client:
            client.list_topics()
            transports = [each.transport for each in client._manager._conns.values() if each.transport is not None]
            assert transports
            for transport in transports:
                transport._write_buffer.append(b"")
        del client, transport, transports
        gc.collect()
    assert [str(each.message) for each in said] == []
    assert psutil.Process().num_fds() <= opened
